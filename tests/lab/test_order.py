"""An order's whole life on a real node, as billing asks for it: create to usage to terminate, and nothing left."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.order import whole_life
from tests.rest_order import RestDoor
from tests.stack import wait_for_task


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
