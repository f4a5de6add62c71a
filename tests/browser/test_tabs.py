"""What a browser with many tabs shows, and what its forms ask before they destroy. On a panel without hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import python
from tests.browser.test_without_hosts import page
from tests.stack import Stack

__all__ = ["page"]

TOLD = """
    from django.utils import timezone
    from panel.vms.models import Vm
    from panel.vms.status import tell_pages
    Vm.objects.filter(pk={vm}).update(status="{status}", observed_at=timezone.now())
    tell_pages([Vm.objects.get(pk={vm})])
"""
SLOW_MS = 30_000
TABS = 8
"""More than the six connections that a browser has for a server over HTTP/1.1."""


def delete_snapshots(stack: Stack) -> None:
    """No VM has one: it holds disks and systems as they are."""
    python(stack, "from panel.vms.models import Snapshot; Snapshot.objects.all().delete()")


@pytest.fixture
def tabs(page: Page) -> Iterator[list[Page]]:
    """The page and more of its browser."""
    more = [page.context.new_page() for _ in range(TABS - 1)]
    yield [page, *more]


def test_eight_tabs_load_and_each_gets_every_event(tabs: list[Page], alone: Stack, vm: int) -> None:
    for tab in tabs:
        tab.goto("/vms")
    for tab in tabs:
        expect(tab.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)
        expect(tab.locator(f'[data-object="vm:{vm}"] .status')).to_have_text("Running", timeout=SLOW_MS)
        # A tab that never asks again by itself shows what it was sent.
        tab.evaluate(
            "() => document.querySelectorAll('[data-live]').forEach((each) => each.removeAttribute('data-live'))"
        )
    python(alone, TOLD.format(vm=vm, status="paused"))
    for tab in tabs:
        expect(tab.locator(f'[data-object="vm:{vm}"] .status')).to_have_text("Paused", timeout=SLOW_MS)

    # The tab that was there first goes: nothing is missed by the others.
    tabs[0].close()
    python(alone, TOLD.format(vm=vm, status="running"))
    for tab in tabs[1:]:
        expect(tab.locator(f'[data-object="vm:{vm}"] .status')).to_have_text("Running", timeout=SLOW_MS)


def test_tabs_say_that_the_panel_was_killed_and_read_what_they_missed(page: Page, alone: Stack, vm: int) -> None:
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto("/vms")
        expect(tab.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)
        expect(tab.locator("#lost")).to_be_hidden()
        tab.evaluate("window.here = true")
    alone.kill("panel")
    for tab in (page, other):
        expect(tab.locator("#lost")).to_be_visible(timeout=SLOW_MS)
    python(alone, f"from panel.vms.models import Vm; Vm.objects.filter(pk={vm}).update(status='crashed')")
    alone.run("panel")
    for tab in (page, other):
        expect(tab.locator(f'[data-object="vm:{vm}"] .status')).to_have_text("Crashed", timeout=SLOW_MS)
        expect(tab.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)
        expect(tab.locator("#lost")).to_be_hidden()
        assert tab.evaluate("window.here"), "it was loaded anew"
    other.close()
    python(alone, TOLD.format(vm=vm, status="running"))


def test_reinstall_begins_only_once_its_name_was_typed(page: Page, alone: Stack, vm: int) -> None:
    delete_snapshots(alone)
    page.goto(f"/vms/{vm}/guest")
    page.get_by_role("button", name="Reinstall").click()
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Everything on the system's disk is lost.")
    expect(dialog).to_contain_text("Disk vda")
    field = dialog.get_by_label("Password")
    field.fill("correct horse battery")
    with page.expect_response("**/do/reinstall") as answer:
        field.press("Enter")
    assert answer.value.status == 422
    expect(dialog.get_by_role("alert").first).to_contain_text("not the one of what would be lost")
    dialog.get_by_label("Type web1 to go on").fill("web1")
    with page.expect_response("**/do/reinstall") as answer:
        dialog.get_by_label("Password").fill("correct horse battery")
        dialog.get_by_label("Password").press("Enter")
    # What forbids it besides, on a panel without hosts, is told; it is not what was typed.
    expect(dialog.get_by_text("not the one of what would be lost")).to_have_count(0)
