"""A security key in a real browser: Chromium's virtual one, registered on the profile, asked for at the next sign-in.

Panels of their own, without nodes: the name of the panel is part of what keys sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.pictures import look
from tests.services import Services
from tests.stack import Stack


@pytest.fixture(scope="module")
def named(services: Services) -> Iterator[Stack]:
    """A panel that browsers know as localhost."""
    stack = Stack(services, "named", "127.0.0.1")
    with stack.layout.conf.open("a", encoding="utf-8") as conf:
        conf.write(f"PublicUrl=https://localhost:{stack.port}\n")
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def page(browser: Browser, named: Stack) -> Iterator[Page]:
    """A page of a fresh browser profile; errors of its scripts fail the test."""
    context = browser.new_context(base_url=f"https://localhost:{named.port}", ignore_https_errors=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def _plug_in(page: Page) -> tuple[CDPSession, str]:
    """A key that is touched whenever it is asked."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    kind: dict[str, Any] = {"protocol": "ctap2", "transport": "usb", "automaticPresenceSimulation": True}
    return devices, devices.send("WebAuthn.addVirtualAuthenticator", {"options": kind})["authenticatorId"]


def _give_password(page: Page, named: Stack) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(named.password)
    page.get_by_role("button", name="Sign in").click()


def _sign_out(page: Page) -> None:
    page.locator("#account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")


def test_a_key_is_registered_signs_in_and_is_removed(page: Page, named: Stack) -> None:
    devices, plugged = _plug_in(page)
    page.goto("/login")
    look(page, "login")
    _give_password(page, named)
    page.goto("/profile")
    add = page.locator("#second-factor").get_by_role("button", name="Add")
    add.click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("Blue key")
    form.get_by_role("button", name="Add").click()
    codes = form.locator("pre")
    expect(codes).to_be_visible()
    assert len(set(codes.inner_text().split())) == 10
    look(page, "security-key-codes")
    form.get_by_role("button", name="Done").click()
    expect(page.locator("#second-factor")).to_contain_text("Blue key")
    look(page, "security-keys")

    _sign_out(page)
    _give_password(page, named)
    page.get_by_role("button", name="Use the security key").wait_for()
    look(page, "security-key-login")
    page.get_by_role("button", name="Use the security key").click()
    page.wait_for_url(f"https://localhost:{named.port}/")
    [kept] = devices.send("WebAuthn.getCredentials", {"authenticatorId": plugged})["credentials"]
    assert kept["rpId"] == "localhost" and kept["signCount"] >= 2

    # It answers to nobody a second time.
    page.goto("/profile")
    add.click()
    form.get_by_label("Name").fill("Once more")
    form.get_by_role("button", name="Add").click()
    expect(form.locator("[data-key-error]")).to_have_text("This key is registered already.")
    form.get_by_role("button", name="Cancel").click()

    page.locator("[data-key-row]").get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Password").fill(named.password)
    dialog.get_by_role("button", name="Remove").click()
    expect(page.locator("#second-factor")).not_to_contain_text("Blue key")
    _sign_out(page)
    _give_password(page, named)
    page.wait_for_url(f"https://localhost:{named.port}/")
