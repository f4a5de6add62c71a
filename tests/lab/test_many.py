"""Many VMs at a time: three workers, two nodes, nothing given twice. VMPANEL_MANY says how many (4; 50 at night)."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import Stack, task_of, wait_for_task

MANY = int(os.environ.get("VMPANEL_MANY", "4"))
SAME = 20
ASK_AT_A_TIME = 10
SECONDS = 900.0
"""For each of the three."""


@pytest.fixture
def three_workers(stack: Stack) -> Iterator[None]:
    """Two more workers beside the stack's own."""
    for name in ("worker-2", "worker-3"):
        argv = list(stack.programs["worker"])
        # Celery wants each worker of a machine to have a name.
        stack.run(name, [*argv, "--hostname", f"{name}@%h"])
    yield
    for name in ("worker-2", "worker-3"):
        stack.end(name)


def together(api: httpx.Client, what: str, tasks: list[int]) -> dict[str, int]:
    """How many of the tasks ended how, once all have; prints how long that took.

    One request a second for all of them: the machine has two cores, and fifty guests to run on them.
    """
    ended = ("done", "failed", "cancelled", "stuck")
    began = time.monotonic()
    found: dict[int, dict[str, Any]] = {}
    while len(found) < len(tasks):
        assert time.monotonic() < began + SECONDS, f"{what}: only {len(found)} of {len(tasks)} have ended"
        time.sleep(1.0)
        shown = api.get("tasks", params={"limit": 200}).json()["results"]
        found |= {task["id"]: task for task in shown if task["id"] in tasks and task["status"] in ended}
    took = [_seconds(task) for task in found.values()]
    print(
        f"{what}: {len(tasks)} in {time.monotonic() - began:.0f} s, each {min(took):.1f} to {max(took):.1f} s",
        flush=True,
    )
    return dict(collections.Counter(task["status"] for task in found.values()))


def _seconds(task: dict[str, Any]) -> float:
    """From the moment that a worker took it."""
    moments = [datetime.fromisoformat(task[name]).timestamp() for name in ("started_at", "finished_at")]
    return moments[1] - moments[0]


@pytest.mark.timeout(4 * SECONDS)
def test_many_vms_are_made_restarted_and_deleted_at_once(
    three_workers: None, cluster: list[Node], api: httpx.Client
) -> None:
    names = [f"many{number}" for number in range(MANY)]
    with concurrent.futures.ThreadPoolExecutor(ASK_AT_A_TIME) as pool:
        answers = list(
            pool.map(lambda name: api.post("vms", json={"name": name, "image": "tiny", "flavor": "tiny"}), names)
        )
    ids = [answer.json()["vm"] for answer in answers]
    try:
        assert together(api, "created", [task_of(answer) for answer in answers]) == {"done": MANY}
        shown = [api.get(f"vms/{vm}").json() for vm in ids]
        for value in ("name", "address", "mac", "uuid"):
            counts = collections.Counter(_of(vm, value) for vm in shown)
            assert len(counts) == MANY, (value, counts.most_common(2))
        assert {vm["status"] for vm in shown} == {"running"}
        assert {vm["node"] for vm in shown} == {node.name for node in cluster[:2]}

        body = {"ids": ids, "params": {"timeout_seconds": 1}}
        restarted = api.post("vms/group/restart", json=body, timeout=SECONDS).json()["results"]
        assert together(api, "restarted", [each["task"] for each in restarted]) == {"done": MANY}
    finally:
        deleted = api.post("vms/group/delete?queue=1", json={"ids": ids}, timeout=SECONDS).json()["results"]
        ended = together(api, "deleted", [each["task"] for each in deleted])
    assert ended == {"done": MANY}
    assert [remains(node) for node in cluster[:2]] == [NOTHING, NOTHING]
    assert not any(vm["name"] in names for vm in api.get("vms", params={"limit": 200}).json()["results"])


def test_identical_creations_with_one_key_make_one_vm(
    three_workers: None, cluster: list[Node], api: httpx.Client
) -> None:
    def ask(_number: int) -> httpx.Response:
        body = {"name": "once", "image": "tiny", "flavor": "tiny"}
        return api.post("vms", json=body, headers={"Idempotency-Key": "an order"})

    with concurrent.futures.ThreadPoolExecutor(SAME) as pool:
        answers = list(pool.map(ask, range(SAME)))
    assert len({task_of(answer) for answer in answers}) == 1
    assert wait_for_task(api, task_of(answers[0]))["status"] == "done"
    found = [vm for vm in api.get("vms", params={"limit": 200}).json()["results"] if vm["name"] == "once"]
    assert len(found) == 1
    assert wait_for_task(api, task_of(api.delete(f"vms/{found[0]['id']}")))["status"] == "done"


def _of(vm: dict[str, Any], value: str) -> str:
    if value in ("address", "mac"):
        return str(vm["interfaces"][0][value])
    return str(vm[value])
