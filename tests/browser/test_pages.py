"""What a person sees and does, in a real browser with real nodes and guests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import choose, confirm, sign_out
from tests.browser.pictures import FITS, shot
from tests.lab.hosts import Node
from tests.stack import done, wait_until

PASSWORD = "correct horse battery"


@pytest.fixture
def vm(cluster: list[Node], api: httpx.Client) -> Iterator[dict[str, Any]]:
    """A running VM on the first node."""
    asked = {"name": "seen", "image": "tiny", "flavor": "tiny", "node": cluster[0].name, "password": PASSWORD}
    answer = api.post("vms", json=asked)
    done(api, answer)
    yield answer.json()
    if api.get(f"vms/{answer.json()['vm']}").status_code == 200:
        done(api, api.delete(f"vms/{answer.json()['vm']}?queue=1"))


def test_a_wrong_password_is_told(page: Page) -> None:
    sign_out(page)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")


def test_a_vm_is_migrated_by_its_dialog_and_virsh_destroy_turns_the_row_of_the_open_list(
    page: Page, vm: dict[str, Any], cluster: list[Node]
) -> None:
    page.goto(f"/vms/{vm['vm']}")
    page.locator("[data-connected]").wait_for()
    choose(page, "Migrate")
    page.locator("#dialog [name=node]").select_option(cluster[1].name)
    page.get_by_text("What will be done").click()
    expect(page.locator("#plan")).to_contain_text(cluster[1].name)
    shot(page, "migrate")
    confirm(page, "Migrate")
    expect(page.locator(".facts")).to_contain_text(cluster[1].name, timeout=60_000)

    page.goto("/vms")
    page.locator("[data-connected]").wait_for()
    row = page.locator(f"[data-object='vm:{vm['vm']}']")
    expect(row.locator(".status")).to_have_text("Running")
    expect(row).to_contain_text(cluster[1].name)
    page.evaluate("window.here = true")
    cluster[1].run(["virsh", "-c", "qemu:///system", "destroy", "seen"])
    # How soon is measured by bench/web --events.
    expect(row.locator(".status")).to_have_text("Shut off")
    assert page.evaluate("window.here"), "it was loaded anew"


def test_a_vm_is_created_followed_and_deleted_by_hand(page: Page, cluster: list[Node], api: httpx.Client) -> None:
    page.goto("/vms")
    page.get_by_role("link", name="Create").first.click()
    page.locator("input[name=image][value=tiny]").check()
    page.locator("input[name=flavor][value=tiny]").check()
    page.get_by_label("Name").fill("by hand")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#id_name-error")).to_contain_text("use a-z")
    page.get_by_label("Name").fill("byhand")
    page.get_by_label("Name").press("Tab")
    expect(page.locator("#plan li").first).to_be_visible()
    shot(page, "create")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url("**/vms/*")
    expect(page.locator(".steps li")).to_have_count(8)
    shot(page, "deploying")
    expect(page.locator("h1 .status")).to_have_text("Running", timeout=60_000)
    expect(page.locator(".steps")).to_have_count(0, timeout=60_000)
    shot(page, "vm")
    choose(page, "Delete")
    expect(page.locator("#dialog")).to_contain_text("Disk vda")
    page.get_by_label("Type byhand to go on").fill("byhand")
    shot(page, "delete")
    confirm(page, "Delete")
    page.wait_for_url(lambda url: url.endswith("/vms"), timeout=60_000)
    assert api.get("vms", params={"name": "byhand"}).json()["results"] == []


def test_what_is_typed_at_the_screen_arrives_and_the_serial_port_answers(
    page: Page, vm: dict[str, Any], cluster: list[Node]
) -> None:
    page.goto(f"/vms/{vm['vm']}/console")
    expect(page.locator("#console-state")).to_have_text("Connected", timeout=30_000)
    canvas = page.locator("#console canvas")
    wait_until(lambda: (canvas.bounding_box() or {"width": 0})["width"] > 100, "the guest's screen is drawn", 20)
    link = page.locator("#console").get_attribute("data-token")
    page.keyboard.type("typedhere", delay=20)
    shot(page, "console")
    # The link was used up: a second use of it is refused.
    refused = page.evaluate(
        """(token) => new Promise((tell) => { const socket = new WebSocket(`wss://${location.host}/console/${token}`);
        socket.onopen = () => tell("open"); socket.onclose = () => tell("refused"); })""",
        link,
    )
    assert refused == "refused"

    # The serial port, which knows what the screen shows.
    page.get_by_role("link", name="Serial port").click()
    state, text = page.locator("#console-state"), page.locator(".xterm-rows")
    expect(state).to_contain_text("Connected")
    page.keyboard.press("Enter")
    for asked, typed in (("login: $", "root"), ("Password: $", PASSWORD), ("# $", "cat /dev/vcs1")):
        expect(text).to_have_text(re.compile(asked.replace("$", r"\s*$")))
        page.keyboard.type(f"{typed}\n")
    expect(text).to_contain_text("login: typedhere")
    shot(page, "serial")

    # It serves one at a time, and comes back with the VM.
    other = page.context.new_page()
    other.goto(page.url)
    theirs = other.locator("#console-state")
    expect(theirs).to_contain_text("Somebody else")
    other.get_by_role("button", name="Take the port").click()
    expect(theirs).to_contain_text("Connected")
    expect(state).to_contain_text("Somebody else")
    other.close()
    page.get_by_role("button", name="Connect again").click()
    expect(state).to_contain_text("Connected")
    cluster[0].run(["virsh", "-c", "qemu:///system", "destroy", "seen"])
    expect(state).to_contain_text("does not run")
    cluster[0].run(["virsh", "-c", "qemu:///system", "start", "seen"])
    expect(state).to_contain_text("Connected")


def test_every_page_opens_without_an_error(page: Page, vm: dict[str, Any], cluster: list[Node]) -> None:
    node = 1
    for name, path in {
        "nodes": "/nodes",
        "node": f"/nodes/{node}",
        "node-new": "/nodes/new",
        "tasks": "/tasks",
        "task": f"/tasks/{vm['task']['id']}",
        "problems": "/problems",
        "stopped-vm": f"/vms/{vm['vm']}",
    }.items():
        answer = page.goto(path)
        assert answer is not None and answer.status == 200, path
        shot(page, name)
    # Swagger UI shows what is looked at; the address names an operation of more than a hundred.
    page.goto("/api/v1/docs#/vms/vm_start")
    page.get_by_text("/api/v1/vms/{object_id}/start").wait_for()
    shot(page, "docs")


def test_a_narrow_screen_scrolls_in_its_tables_alone(page: Page, vm: dict[str, Any]) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/vms")
    shot(page, "narrow")
    assert page.evaluate(FITS)


def test_a_policy_is_switched_on_and_stays_on(page: Page, cluster: list[Node], api: httpx.Client) -> None:
    page.goto("/cluster")
    box = page.get_by_label("Warn of running VMs")
    expect(box).not_to_be_checked()
    try:
        box.check()
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#toasts")).to_contain_text("Saved.")
        page.reload()
        expect(page.get_by_label("Warn of running VMs")).to_be_checked()
        assert api.get("cluster").json()["check_vm_status"]
    finally:
        api.patch("cluster", json={"check_vm_status": False})


def test_a_vms_history_is_a_line_of_what_it_was(
    page: Page, vm: dict[str, Any], cluster: list[Node], api: httpx.Client
) -> None:
    for verb, status in (("suspend", "paused"), ("resume", "running")):
        cluster[0].run(["virsh", "-c", "qemu:///system", verb, "seen"])
        wait_until(lambda status=status: api.get(f"vms/{vm['vm']}").json()["status"] == status, status)
    page.goto(f"/vms/{vm['vm']}")
    line = page.locator("svg.timeline rect")
    assert [each.get_attribute("data-status") for each in line.all()][-2:] == ["paused", "running"]
    shot(page, "history")


def test_what_is_chosen_in_the_list_is_stopped_together(
    page: Page, vm: dict[str, Any], cluster: list[Node], api: httpx.Client
) -> None:
    answer = api.post("vms", json={"name": "seen2", "image": "tiny", "flavor": "tiny"})
    done(api, answer)
    try:
        page.goto("/vms")
        expect(page.locator("#group")).to_be_hidden()
        page.get_by_label("Choose all").check()
        # A test that failed before may have left others.
        others = "[data-choose]:not([aria-label='Choose seen']):not([aria-label='Choose seen2'])"
        for left in page.locator(others).all():
            left.uncheck()
        expect(page.locator("#group .count")).to_have_text("2 chosen")
        shot(page, "chosen")
        page.get_by_role("button", name="Force off").click()
        page.get_by_role("button", name="Force off: 2 objects").click()
        expect(page.locator("#dialog").get_by_text("Asked for")).to_have_count(2)
        page.locator("#dialog .modal-footer").get_by_role("button", name="Close").click()
        for each in (vm["vm"], answer.json()["vm"]):
            expect(page.locator(f"[data-object='vm:{each}'] .status")).to_have_text("Shut off", timeout=30_000)
        expect(page.locator("#group")).to_be_hidden()
    finally:
        done(api, api.delete(f"vms/{answer.json()['vm']}?queue=1"))


def test_a_snapshot_is_taken_and_a_vm_suspended_by_hand(page: Page, vm: dict[str, Any], api: httpx.Client) -> None:
    path = f"vms/{vm['vm']}"
    page.goto(f"/{path}")
    page.locator("[data-connected]").wait_for()
    choose(page, "Snapshot")
    page.locator("#dialog [name=name]").fill("before the update")
    page.get_by_text("What will be done").click()
    expect(page.locator("#plan li").first).to_be_visible()
    shot(page, "dialog")
    confirm(page, "Snapshot")
    expect(page.locator("#snapshots b")).to_have_text("before the update", timeout=60_000)
    expect(page.locator("#snapshots")).to_contain_text("with memory", timeout=60_000)
    page.get_by_label("Starts with its node").check()
    wait_until(lambda: api.get(path).json()["autostart"], "it starts with its node", 30)
    wait_until(lambda: api.get(path).json()["task"] is None, "nothing is done to it", 30)
    shot(page, "snapshots")

    page.locator("#actions .dropdown-toggle").click()
    shot(page, "menu")
    page.keyboard.press("Escape")
    choose(page, "Suspend")
    page.locator("#dialog [name=reason]").fill("not paid for")
    confirm(page, "Suspend")
    expect(page.locator("#suspended")).to_contain_text("not paid for", timeout=60_000)
    wait_until(lambda: api.get(path).json()["status"] == "shut off", "it is off", 120)
    wait_until(lambda: api.get(path).json()["task"] is None, "nothing is done to it", 30)
    expect(page.locator("[data-verb=delete]")).not_to_have_attribute("aria-disabled", "true")
    expect(page.locator("[data-verb=start]")).to_have_attribute("aria-disabled", "true")
    shot(page, "suspended")
    page.goto(f"/{path}/guest")
    expect(page.locator("[data-verb=reinstall]")).to_be_disabled()
    shot(page, "suspended-guest")
    page.goto(f"/{path}")
    page.locator("[data-connected]").wait_for()
    page.locator("[data-verb=unsuspend]").first.click()
    expect(page.locator("#suspended")).to_have_count(0, timeout=60_000)
    wait_until(lambda: api.get(path).json()["status"] == "running", "it runs again", 120)
    expect(page.locator("[data-verb=stop]").first).to_be_enabled()


def test_settings_are_changed_in_their_form_and_what_waits_is_shown(
    page: Page, vm: dict[str, Any], api: httpx.Client
) -> None:
    path = f"vms/{vm['vm']}"
    page.goto(f"/{path}")
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_label("Title").fill("The shop")
    page.locator("input[name=vcpus]").fill("400")
    page.get_by_label("Clock").select_option("localtime")
    page.get_by_label("Boot order").select_option("cdrom\ndisk")
    shot(page, "settings")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_vcpus-error")).to_contain_text("needed")
    page.locator("input[name=vcpus]").fill("1")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/{path}")
    expect(page.locator("#pending")).to_contain_text("localtime", timeout=30_000)
    shot(page, "pending")
    shown = api.get(path).json()
    assert (shown["title"], shown["clock"], shown["boot_order"]) == ("The shop", "localtime", ["cdrom", "disk"])
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_label("Title").fill("")
    page.get_by_label("Clock").select_option("utc")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/{path}")
    wait_until(lambda: [each["field"] for each in api.get(path).json()["pending"]] == ["boot"], "it is changed back")
    assert api.get(path).json()["title"] == ""
