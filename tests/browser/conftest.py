"""A real Chromium against a whole panel with lab nodes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.services import Services
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
# What is expected is waited for; on a busy machine that may be long.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


NODES = """
    from django.utils import timezone
    from panel.cluster.models import Node, NodeState
    from panel.cluster.selectors import default_cluster
    from panel.storage.models import NodePool, Volume
    from panel.storage.services import ensure_default_pool
    pool = ensure_default_pool(default_cluster())
    for name, free_gib in (("node1", 310), ("node2", 3)):
        node = Node.objects.create(
            cluster=pool.cluster, name=name, address=f"{name}.invalid", state=NodeState.READY, accel="kvm", is_fake=True
        )
        NodePool.objects.create(
            node=node, pool=pool, capacity_bytes=500 << 30, free_bytes=free_gib << 30, mark=name, seen_at=timezone.now()
        )
        Volume.objects.create(pool=pool, node=node, size_gib=20)
"""
"""Two nodes as their checks leave them; nothing is asked of them here."""


@pytest.fixture(scope="session")
def alone(services: Services) -> Iterator[Stack]:
    """A panel beside which there is no host."""
    stack = Stack(services, "alone", "127.0.0.1")
    try:
        stack.start()
        stack.manage("shell", "--command", textwrap.dedent(NODES))
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
