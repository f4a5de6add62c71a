"""What all pages have in common: lists, dialogs, themes, messages. On a panel without hosts."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import choose, python
from tests.browser.test_without_hosts import page
from tests.stack import Stack

__all__ = ["page"]


def test_a_list_is_searched_as_one_types_and_its_address_says_so(page: Page, vm: int) -> None:
    page.goto("/vms")
    expect(page.locator(f"[data-object='vm:{vm}']")).to_be_visible()
    page.get_by_label("Search").fill("nothing like it")
    expect(page.locator(f"[data-object='vm:{vm}']")).to_have_count(0)
    expect(page.locator("#rows")).to_contain_text("Nothing fits")
    expect(page).to_have_url(re.compile(r"search=nothing"))
    page.get_by_label("Search").fill("WEB")
    expect(page.locator(f"[data-object='vm:{vm}']")).to_be_visible()
    page.locator("select[name=status]").select_option("shut off")
    expect(page.locator(f"[data-object='vm:{vm}']")).to_have_count(0)
    page.go_back()
    expect(page.locator(f"[data-object='vm:{vm}']")).to_be_visible()


def test_chosen_columns_are_remembered(page: Page, vm: int) -> None:
    page.goto("/vms")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Created").check()
    head = page.get_by_role("columnheader", name="Created")
    expect(head).to_be_visible()
    page.reload()
    expect(head).to_be_visible()
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Created").uncheck()
    expect(head).to_have_count(0)


def test_a_dialog_tells_what_is_wrong_at_its_field_and_closes_by_escape(page: Page, vm: int) -> None:
    page.goto(f"/vms/{vm}")
    choose(page, "Snapshot")
    dialog = page.locator("#dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_role("button", name="Snapshot").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_what_is_lost_is_named_and_its_name_wanted(page: Page, vm: int) -> None:
    page.goto(f"/vms/{vm}")
    choose(page, "Delete")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Disk vda")
    dialog.get_by_label("Type web1 to go on").fill("web2")
    with page.expect_response("**/do/delete") as answer:
        dialog.get_by_role("button", name="Delete").click()
    assert answer.value.status == 422
    expect(dialog.get_by_role("alert")).to_contain_text("not the one")


def test_a_group_tells_for_which_it_is_not_possible(page: Page, vm: int) -> None:
    page.goto("/vms")
    page.get_by_label("Choose web1").check()
    expect(page.locator("#group .count")).to_have_text("1 chosen")
    page.locator("#group").get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#dialog")).to_contain_text("web1")
    expect(page.locator("#dialog .btn-primary")).to_have_count(0)


def test_the_theme_that_is_chosen_stays(page: Page) -> None:
    page.goto("/vms")
    for name, theme in (("Dark", "dark"), ("Light", "light")):
        page.locator("#account").click()
        with page.expect_navigation():
            page.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)


def test_ctrl_k_finds_a_vm_and_enter_opens_it(page: Page, vm: int) -> None:
    page.goto("/tasks")
    page.keyboard.press("Control+k")
    box = page.locator("#dialog [name=q]")
    expect(box).to_be_focused()
    page.keyboard.type("web1")
    expect(page.locator(f"#found a[href='/vms/{vm}']")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/vms/{vm}")
    page.keyboard.press("?")
    expect(page.locator("#dialog kbd").first).to_be_visible()


def test_who_clicks_twice_asks_once(page: Page, vm: int) -> None:
    page.goto(f"/vms/{vm}")
    choose(page, "Snapshot")
    expect(page.locator("#dialog [name=name]")).to_be_focused()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    with page.expect_response("**/do/snapshot"):
        page.evaluate(
            "() => { const form = document.querySelector('#dialog form'); form.requestSubmit(); form.requestSubmit(); }"
        )
    expect(page.locator("#dialog [role=alert]").first).to_be_visible()
    assert len(sent) == 1


USED = """
    from datetime import UTC, datetime, timedelta
    from panel.monitoring.models import VmUsage
    from panel.monitoring.models.statistics import slot
    now = slot(datetime.now(UTC))
    for number in [*range(1, 24), *range(72, 140)]:
        VmUsage.objects.create(
            vm_id={vm}, step=600, at=now - timedelta(minutes=10 * number), seconds=600, cpu_ns=number * 10**9,
            memory_kib=131072, rss_kib=65536, rx_bytes=number * 10**6,
        )
"""


def test_charts_have_axes_and_values_and_what_was_not_measured_is_a_gap(page: Page, alone: Stack, vm: int) -> None:
    python(alone, USED.format(vm=vm))
    page.goto(f"/vms/{vm}")
    charts = page.locator(".curves figure")
    expect(charts).to_have_count(4)
    cpu, memory = charts.nth(0), charts.nth(1)
    marks = cpu.locator(".axes text").all_text_contents()
    assert "0 %" in marks and len([each for each in marks if ":" in each]) >= 3
    assert [each for each in memory.locator(".axes text").all_text_contents() if "MiB" in each]
    line = cpu.locator("path[data-line='0']").get_attribute("d") or ""
    assert line.count("M") == 2
    assert "on average" in (cpu.get_by_role("img").get_attribute("aria-label") or "")
    # Long ago, and eight hours ago, of which nothing is known.
    box = cpu.locator("svg").bounding_box()
    assert box is not None
    for share, told in ((0.3, "used"), (0.67, "nothing was measured")):
        cpu.locator("svg").hover(position={"x": 68 + share * (box["width"] - 80), "y": 60})
        expect(cpu.locator(".reading")).to_contain_text(told)
    page.get_by_text("As a table").click()
    expect(page.locator("#statistics tbody tr")).to_have_count(91)
