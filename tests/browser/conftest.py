"""A real Chromium against a whole panel with lab nodes."""

from __future__ import annotations

import textwrap
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


def python(stack: Stack, text: str) -> str:
    """Run it in the panel's own Django."""
    return stack.manage("shell", "--no-imports", "--command", textwrap.dedent(text))


VM = """
    from panel.accounts.models import User
    from panel.cluster.models import Node
    from panel.images.models import Image
    from panel.storage.models import Pool, Volume
    from panel.vms.models import Disk, Snapshot, Vm
    image = Image.objects.create(
        name="small", title="Small OS", os_family="test", file_name="none", sha256="0" * 64, size_bytes=1,
        virtual_bytes=1, login="root", min_memory_mib=96, min_disk_gib=1,
    )
    vm = Vm.objects.create(
        name="web1", owner=User.objects.get(name="admin"), pool=Pool.objects.first(),
        node=Node.objects.first(), cluster=Node.objects.first().cluster,
        image=image, vcpus=1, memory_mib=128, status="running", wanted="running", installed=True,
        drift=[{"field": "vcpus", "node": 2, "stored": 1}],
    )
    Snapshot.objects.create(vm=vm, name="before", state="ready")
    for number, target in enumerate(("vda", "vdb")):
        volume = Volume.objects.create(pool=vm.pool, node=vm.node, size_gib=1)
        Disk.objects.create(vm=vm, volume=volume, target=target, position=number)
    print(vm.pk)
"""


@pytest.fixture(scope="session")
def vm(alone: Stack) -> int:
    """A VM that runs on the panel without hosts, as far as its database knows."""
    return int(python(alone, VM))


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


def sign_out(page: Page) -> None:
    """By the menu of the account."""
    page.locator("#account").click()
    page.get_by_role("button", name="Sign out").click()


def choose(page: Page, action: str) -> None:
    """An action of the menu beside an object's name."""
    page.locator("#actions .dropdown-toggle").click()
    page.locator("#actions .menu").get_by_role("button", name=action, exact=True).click()


def confirm(page: Page, action: str) -> None:
    """The button of the dialog that is open, which then closes."""
    page.locator("#dialog .modal-footer").get_by_role("button", name=action, exact=True).click()
    expect(page.locator("#dialog")).to_be_hidden()


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
