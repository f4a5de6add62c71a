"""A real Chromium against a whole panel with lab nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.stack import Stack

# As root, and without the talk with its maker that a closed network would refuse many times a second.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, stack: Stack, tmp_path: Path) -> Iterator[Page]:
    """A page of a fresh browser profile, signed in as the administrator; errors of its scripts fail the test."""
    context = browser.new_context(base_url=f"https://127.0.0.1:{stack.port}", ignore_https_errors=True)
    page = context.new_page()
    _go_again_when_the_network_changes(page)
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


def _go_again_when_the_network_changes(page: Page) -> None:
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
