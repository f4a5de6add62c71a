"""A page never shows a VM's status of before one that it has shown, whatever comes in which order."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import go_again_when_the_network_changes
from tests.stack import Stack, wait_until

MADE = """
    from datetime import timedelta
    from django.utils import timezone
    from panel.accounts.models import User
    from panel.cluster.models import Node
    from panel.storage.models import Pool
    from panel.vms.models import Vm
    node = Node.objects.get(name="node1")
    owner, pool = User.objects.get(name="admin"), Pool.objects.first()
    Vm.objects.create(
        name="ordered", cluster=node.cluster, node=node, owner=owner, pool=pool,
        memory_mib=128, vcpus=1, installed=True, status="running", observed_at=timezone.now() - timedelta(seconds=60),
    )
"""
TOLD = """
    import time
    from datetime import timedelta
    from panel.vms.models import Vm
    from panel.vms.status import tell_pages
    vm, before = Vm.objects.get(name="ordered"), Vm.objects.get(name="ordered")
    # Before the transaction that made it is seen by whoever makes the page: a server of its own, or one that was slow.
    vm.status, vm.observed_at = "paused", vm.observed_at + timedelta(seconds=1)
    tell_pages([vm])
    time.sleep(1)
    # One that was overtaken.
    before.status = "crashed"
    tell_pages([before])
    time.sleep(0.3)
    vm.save(update_fields=["status", "observed_at"])
    tell_pages([vm])
"""
WATCH = """() => {
    window.seen = [];
    const look = () => {
        const status = document.querySelector('.head .status')?.dataset.status;
        if (status && status !== window.seen.at(-1)) window.seen.push(status);
    };
    look();
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@pytest.fixture
def vm(alone: Stack) -> Iterator[int]:
    """A VM that was seen running; gone with the test."""
    alone.manage("shell", "--command", textwrap.dedent(MADE))
    yield int(alone.sql("SELECT id FROM vms_vm WHERE name = 'ordered'")[0][0])
    alone.manage("shell", "--command", "from panel.vms.models import Vm; Vm.objects.filter(name='ordered').delete()")


@pytest.fixture
def page(browser: Browser, alone: Stack) -> Iterator[Page]:
    """A page, signed in as the administrator."""
    context = browser.new_context(base_url=f"https://127.0.0.1:{alone.port}", ignore_https_errors=True)
    page = context.new_page()
    go_again_when_the_network_changes(page)
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(alone.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    yield page
    context.close()


def test_what_is_older_is_not_shown_again(page: Page, alone: Stack, vm: int) -> None:
    page.goto(f"/vms/{vm}")
    expect(page.locator("[data-connected]")).to_have_count(1)
    page.evaluate(WATCH)
    fetched = []
    page.on("response", lambda answer: fetched.append(answer.url) if answer.url.endswith(f"/vms/{vm}") else None)
    alone.manage("shell", "--command", textwrap.dedent(TOLD))
    order = page.locator(".head .status").get_attribute("data-order")
    # Pages of before were read meanwhile, and put aside; the one of then is shown.
    wait_until(lambda: page.evaluate("1") and len(fetched) >= 2, "the page was read again", 20)
    page.wait_for_timeout(500)
    assert page.evaluate("window.seen") == ["running", "paused"]
    assert page.locator(".head .status").get_attribute("data-order") == order
