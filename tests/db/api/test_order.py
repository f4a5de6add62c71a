"""An order's whole life through REST, on a node in memory; tests/lab/test_order.py has it on a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.images.models import Image
from panel.tasks.models import Task
from tests.db.conftest import run_task
from tests.db.usage.test_ledger import NOON, set_clock
from tests.order import whole_life
from tests.rest_order import RestDoor


@pytest.fixture
def passing() -> Iterator[Callable[[], None]]:
    """The database's clock goes on by ten minutes with each call."""
    minutes = [0]

    def go_on() -> None:
        minutes[0] += 10
        set_clock(NOON + timedelta(minutes=minutes[0]))

    set_clock(NOON)
    yield go_on
    set_clock(None)


def test_an_orders_whole_life(
    api: APIClient, user: User, node: Node, image: Image, passing: Callable[[], None]
) -> None:
    def call(method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        ask = getattr(api, method)
        kwargs = {} if method == "get" else {"data": body or {}, "format": "json"}
        answer = ask(f"/api/v1/{path}", **kwargs, **named)
        return answer.status_code, answer.json() if answer.content else None

    def wait(task: int) -> None:
        run_task(Task.objects.get(pk=task))

    since = NOON - timedelta(hours=1)
    whole_life(RestDoor(call, wait, passing, image.name, since, user.name), "order1")


def test_a_package_sets_memory_and_cpus_and_what_is_said_besides_goes_before(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    vm = api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "tiny"}).json()["vm"]
    run_tasks()
    api.post(f"/api/v1/vms/{vm}/configure", {"flavor": "medium", "vcpus": 1})
    run_tasks()
    shown = api.get(f"/api/v1/vms/{vm}").json()
    assert (shown["memory_mib"], shown["vcpus"]) == (2048, 1)
    refused = api.post(f"/api/v1/vms/{vm}/configure", {"flavor": "nothing"})
    assert (refused.status_code, refused.json()["field"]) == (404, "flavor")
