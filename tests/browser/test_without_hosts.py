"""Pages that need no host: storages, and ISO images sent by hand. On a panel of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.pictures import look, shot
from tests.db.images.test_isos import MIB, iso_file
from tests.stack import Stack, wait_until


@pytest.fixture
def api(alone: Stack) -> Iterator[httpx.Client]:
    """The REST API as the administrator."""
    with alone.api() as client:
        yield client


@pytest.fixture
def page(browser: Browser, alone: Stack) -> Iterator[Page]:
    """A page, signed in as the administrator; errors of its scripts fail the test."""
    context = browser.new_context(base_url=f"https://127.0.0.1:{alone.port}", ignore_https_errors=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(alone.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    yield page
    context.close()
    assert errors == []


def test_a_storage_is_added_and_declared_shared_by_keyboard(page: Page, api: httpx.Client) -> None:
    page.get_by_role("link", name="Storages").click()
    local = page.locator("[data-pool]").filter(has_text="local")
    expect(local.locator("tr", has_text="node2")).to_contain_text("497 GiB, 99 %")
    page.get_by_role("link", name="Add", exact=True).press("Enter")
    page.get_by_label("Name").fill("nfs")
    page.get_by_label("Folder").fill("/srv")
    page.get_by_label("Folder").press("Enter")
    expect(page.locator("#id_path-error")).to_have_text("A storage is an absolute path of at least two folders.")
    look(page, "storage-new")
    page.get_by_label("Folder").fill("/srv/nfs/pool")
    page.get_by_label("Folder").press("Enter")
    page.wait_for_url("**/storages")
    added = page.locator("[data-pool]").filter(has_text="/srv/nfs/pool")
    expect(added.locator("tr", has_text="node1")).to_contain_text("not there yet")

    # Both nodes have a “local” of their own: that it is not shared is seen at once.
    box = local.get_by_label("Shared")
    box.press("Space")
    expect(page.locator("#toasts")).to_contain_text("Saved.")
    expect(local.get_by_text("not all nodes see the same files")).to_be_visible()
    expect(box).to_be_checked()
    look(page, "storages")
    box.press("Space")
    expect(local.get_by_text("not all nodes see the same files")).to_have_count(0)
    pools = {each["name"]: each["shared"] for each in api.get("pools").json()["results"]}
    assert (pools["local"], pools["nfs"]) == (False, False)


def names_of_isos(api: httpx.Client) -> set[str]:
    """Those that there are; other tests have some of theirs."""
    return {each["name"] for each in api.get("isos").json()["results"]}


def sends_at(devices: CDPSession, bytes_a_second: int) -> None:
    """What the page sends goes at that speed; -1 for as fast as it can."""
    speed = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    devices.send("Network.emulateNetworkConditions", speed)


def test_an_iso_image_is_sent_with_its_progress_and_a_wrong_file_is_refused_in_words(
    page: Page, api: httpx.Client, tmp_path: Path
) -> None:
    wrong, right = tmp_path / "Holiday Photo.iso", tmp_path / "Debian 12.iso"
    # So large that the panel has refused it long before its end.
    wrong.write_bytes(bytes(48 * MIB))
    right.write_bytes(iso_file(3 * MIB))
    devices = page.context.new_cdp_session(page)
    devices.send("Network.enable")
    page.get_by_role("link", name="ISO images").click()
    form = page.locator("[data-send]")
    file, progress = form.get_by_label("File"), page.locator("[data-send] progress")
    file.set_input_files(wrong)
    expect(form.get_by_label("Name")).to_have_value("holiday-photo")
    expect(progress).to_be_hidden()
    form.get_by_role("button", name="Send").click()
    expect(page.locator("[data-wrong=body]")).to_contain_text("This is no ISO 9660 image.")
    expect(progress).to_be_hidden()
    look(page, "iso-refused")
    assert "holiday-photo" not in names_of_isos(api)

    form.get_by_label("Name").fill("debian-12")
    form.get_by_label("Title").fill("Debian 12")
    file.set_input_files(right)
    sends_at(devices, MIB // 4)
    form.get_by_role("button", name="Send").click()
    expect(progress).to_be_visible()
    expect(page.locator("[data-wrong=body]")).to_be_empty()
    wait_until(lambda: 0.05 < progress.evaluate("bar => bar.value") < 0.95, "the page shows how far it is")
    expect(form.get_by_role("button", name="Send")).to_be_disabled()
    shot(page, "iso-sending")
    row = page.locator("[data-iso]", has_text="debian-12")
    expect(row).to_contain_text("3 MiB", timeout=60_000)
    sends_at(devices, -1)
    look(page, "isos")

    # The same name again is refused beside the field.
    file.set_input_files(right)
    form.get_by_label("Name").fill("debian-12")
    form.get_by_role("button", name="Send").click()
    expect(page.locator("[data-wrong=name]")).not_to_be_empty()
    row.get_by_role("button", name="Delete").click()
    page.locator("#dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert "debian-12" not in names_of_isos(api)
