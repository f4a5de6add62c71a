"""A real Chromium against a whole panel with lab nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.browser.chromium import launch
from tests.services import Services
from tests.stack import Stack

# What is expected is waited for; on a busy machine that may be long.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium."""
    with sync_playwright() as playwright:
        chromium = launch(playwright.chromium)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def alone(services: Services) -> Iterator[Stack]:
    """A panel beside which there is no host; it knows two nodes."""
    stack = Stack(services, "alone", "127.0.0.1")
    try:
        stack.start()
        stack.manage("shell", "--no-imports", "--command", "from tests.browser import sample; sample.nodes()")
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def page(browser: Browser, stack: Stack, tmp_path: Path) -> Iterator[Page]:
    """A page of a fresh browser profile, signed in as the administrator; errors of its scripts fail the test."""
    context = browser.new_context(base_url=f"https://127.0.0.1:{stack.port}", ignore_https_errors=True)
    page = context.new_page()
    go_again_when_the_network_changes(page)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    yield page
    context.close()
    assert errors == []


def go_again_when_the_network_changes(page: Page) -> None:
    """Chromium gives up what it loads when an interface comes or goes, even from loopback: labs beside us make some."""
    go = page.goto

    def goto(url: str, **options: Any) -> Any:
        try:
            return go(url, **options)
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in error.message:
                raise
            return go(url, **options)

    page.goto = goto  # type: ignore[method-assign]
