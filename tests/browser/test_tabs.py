"""What a browser with many tabs shows, and what its forms ask before they destroy. On a panel without hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page, Request, expect

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
TABS = 7
"""More than the six connections that a browser has for a server over HTTP/1.1."""


def delete_snapshots(stack: Stack) -> None:
    """No VM has one: it holds disks and systems as they are."""
    python(stack, "from panel.vms.models import Snapshot; Snapshot.objects.all().delete()")


@pytest.fixture
def tabs(page: Page) -> Iterator[list[Page]]:
    """The page and more of its browser."""
    more = [page.context.new_page() for _ in range(TABS - 1)]
    yield [page, *more]


def test_seven_tabs_load_and_each_gets_every_event(tabs: list[Page], alone: Stack, vm: int) -> None:
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


@pytest.mark.nightly
def test_tabs_read_what_they_missed_while_the_panel_was_away(page: Page, alone: Stack, vm: int) -> None:
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto("/vms")
        expect(tab.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)
    alone.end("panel")
    for tab in (page, other):
        expect(tab.locator("body:not([data-connected])")).to_be_visible(timeout=SLOW_MS)
    python(alone, f"from panel.vms.models import Vm; Vm.objects.filter(pk={vm}).update(status='crashed')")
    alone.run("panel")
    for tab in (page, other):
        expect(tab.locator(f'[data-object="vm:{vm}"] .status')).to_have_text("Crashed", timeout=SLOW_MS)
        expect(tab.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)


def _fill(page: Page) -> None:
    for field in page.locator("dialog [required]").all():
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(index=1)
        else:
            field.fill("1" if field.get_attribute("type") == "number" else "correct horse")


@pytest.mark.parametrize("path", ["/vms/{vm}/devices"])
def test_enter_in_a_form_that_destroys_asks_first(page: Page, alone: Stack, vm: int, path: str) -> None:
    if path.endswith("devices"):
        delete_snapshots(alone)
    asked: list[str] = []
    sent: list[str] = []

    def no(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    def note(request: Request) -> None:
        if request.method != "GET":
            sent.append(request.url)

    page.on("dialog", no)
    page.on("request", note)
    page.goto(path.format(vm=vm))
    expect(page.locator("[data-connected]")).to_be_visible(timeout=SLOW_MS)
    page.evaluate("() => document.getElementById('live').removeAttribute('data-live')")
    page.evaluate("() => document.querySelectorAll('[data-action]').forEach((each) => { each.disabled = false; })")
    buttons = page.locator("#live [data-action].danger, #live [data-action][data-confirm]")
    assert buttons.count()
    for index in range(buttons.count()):
        button = buttons.nth(index)
        asks = button.get_attribute("data-form") is not None
        before = len(asked)
        button.dispatch_event("click")
        if asks:
            _fill(page)
            last = page.locator("dialog input:not([type=checkbox])")
            if last.count():
                last.last.press("Enter")
            else:
                page.locator("dialog .danger").press("Enter")
            page.locator("dialog").get_by_role("button", name="Cancel").click()
        assert len(asked) == before + 1, button.get_attribute("data-action")
        assert asked[-1] == button.get_attribute("data-confirm")
    assert sent == []


def test_reinstall_begins_only_once_it_was_confirmed(page: Page, alone: Stack, vm: int) -> None:
    delete_snapshots(alone)
    page.goto(f"/vms/{vm}/guest")
    answers, asked, sent = iter([False, True]), [], []

    def answer_it(dialog: Dialog) -> None:
        asked.append(dialog.message)
        (dialog.accept if next(answers) else dialog.dismiss)()

    page.on("dialog", answer_it)
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    field = page.locator('form[data-submit$="/reinstall"] input[type=password]')
    field.fill("correct horse battery")
    field.press("Enter")
    assert asked == ["Reinstall web1? Everything on the system's disk is lost."]
    assert sent == []
    with page.expect_response("**/reinstall") as answer:
        field.press("Enter")
    assert answer.value.request.headers["x-confirmed"] == "yes"
    assert answer.value.status != 428
