"""An order's whole life on a real node, as billing asks for it: create to usage to terminate, and nothing left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.classic_client import ClassicClient
from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.order import whole_life
from tests.rest_order import RestDoor
from tests.stack import Stack, done, wait_for_task


@pytest.mark.nightly
def test_an_orders_whole_life_through_rest(cluster: list[Node], api: httpx.Client) -> None:
    node = cluster[0]

    def call(method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = api.request(method, path, json=body, headers=named)
        return answer.status_code, answer.json() if answer.content else None

    def wait(task: int) -> None:
        wait_for_task(api, task, 300)

    # Usage is in whole seconds of the database's clock.
    since = datetime.now(UTC) - timedelta(minutes=1)
    door = RestDoor(call, wait, lambda: time.sleep(1.1), "tiny", since, "admin", node=node.name)
    whole_life(door, "order1")
    assert remains(node) == NOTHING


@pytest.fixture
def nothing_left(api: httpx.Client) -> Iterator[None]:
    """An order that fails half way leaves no VM to the tests that follow."""
    yield
    for vm in api.get("vms", params={"name": "order2"}).json()["results"]:
        done(api, api.delete(f"vms/{vm['id']}"))


def test_an_orders_whole_life_through_the_classic_api(
    nothing_left: None, cluster: list[Node], stack: Stack, api: httpx.Client
) -> None:
    node, billing = cluster[0], ClassicClient(api)
    tiny = next(row["id"] for row in billing.rows("preset") if row["name"] == "tiny")
    system = next(row["id"] for row in billing.rows("osmgr") if row["osname"] == "tiny")
    new = {"name": "order2", "user": "admin", "preset": tiny, "hostnode": node.name, "password": "correct horse"}
    made = billing.call("vm.edit", sok="ok", installtype="installtemplate", vmi=system, **new)
    vm, address = made.findtext("elid", ""), made.findtext("ip", "")
    assert made.findtext("id") == vm
    row = billing.vm(vm)
    assert row is not None and (row["ip"], row.get("installos")) == (address, "on")
    billing.wait(vm)
    row = billing.vm(vm)
    assert row is not None and (row["vmstatus"], row["mem"], "installos" in row) == ("running", "128", False)

    for blocked, status in (("on", "stopped"), ("off", "running")):
        billing.call("vm.edit", sok="ok", elid=vm, blocked=blocked)
        billing.wait(vm)
        row = billing.vm(vm)
        assert row is not None and row["vmstatus"] == status

    billing.call("vm.edit", sok="ok", elid=vm, mem="192")
    billing.wait(vm)
    billing.call("vm.reinstall", sok="ok", elid=vm, vmi=system, passwd="battery staple")
    billing.wait(vm)
    form = billing.call("vm.edit", elid=vm)
    assert (form.findtext("mem"), form.findtext("vmstatus")) == ("192", "running")

    key = "0123456789abcdef0123"
    billing.call("session.newkey", username="admin", key=key)
    with stack.api() as browser:
        del browser.headers["Authorization"]
        browser.headers["Accept"] = "text/html"
        asked = {"func": "auth", "username": "admin", "key": key, "checkcookie": "no"}
        assert browser.get(billing.url, params=asked).status_code == 302
        console = billing.call("vm.novnc", elid=vm).findtext("url", "")
        assert browser.get(console).status_code == 200

    billing.rows("reportvm", type="day", period="currentmonth", server=vm)
    billing.call("vm.delete", elid=vm)
    billing.wait(vm)
    assert billing.vm(vm) is None
    assert remains(node) == NOTHING
