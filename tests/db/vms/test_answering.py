"""A creation whose node does not answer, with nothing on it yet, goes to the next node by itself."""

from __future__ import annotations

from typing import Any

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure, NodeError, NodeTimeout, NodeUnreachable
from panel.images.models import Image
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskLock
from panel.vms.models import Vm
from tests.db.conftest import make_node, run_task

AWAY = [
    NodeTimeout(node="fake1", command="host_info", seconds=10),
    NodeUnreachable(node="fake1", reason="no route"),
    LibvirtFailure(node="fake1", command="host_info", text="it is away", connection_lost=True),
]


@pytest.fixture
def other(node: Node) -> Node:
    """A node that is chosen only where the first is not to be had."""
    found = make_node("fake2")
    Node.objects.filter(pk=found.pk).update(facts={"memory_mib": 8192, "cpu_count": 8})
    return found


def ask(by: User, **raw: Any) -> Task:
    """A creation; the first node has more room."""
    return registry.get("vm.create").submit(by, {"name": "web1", "image": "small", "flavor": "small", **raw})


@pytest.mark.parametrize("error", AWAY)
def test_it_goes_to_the_next_node_with_its_records_and_its_lock(
    admin: User, node: Node, other: Node, image: Image, error: NodeError
) -> None:
    task = ask(admin)
    assert Vm.objects.get().node_id == node.pk
    fake.node(node.pk).fail("host_info", error, times=99)
    engine.run(task.pk, "test")
    assert TaskLock.objects.get(task=task, kind="node").object_id == other.pk
    ended = run_task(task)
    vm = Vm.objects.get()
    assert (ended.status, ended.node_id, ended.result["node"]) == (Status.DONE, other.pk, "fake2")
    assert (vm.node_id, vm.disks.get().volume.node_id) == (other.pk, other.pk)
    assert fake.node(node.pk).domains == {} and len(fake.node(other.pk).domains) == 1
    assert ended.log.filter(text__contains="goes to the node “fake2”").count() == 1


def test_where_no_other_node_is_to_be_had_its_own_is_waited_for(admin: User, node: Node, image: Image) -> None:
    task = ask(admin)
    fake.node(node.pk).fail("host_info", AWAY[0], times=2)
    ended = run_task(task)
    assert (ended.status, ended.node_id) == (Status.DONE, node.pk)


def test_a_node_that_the_request_names_is_waited_for(admin: User, node: Node, other: Node, image: Image) -> None:
    task = ask(admin, node="fake1")
    fake.node(node.pk).fail("host_info", AWAY[1], times=2)
    assert (run_task(task).status, Vm.objects.get().node_id) == (Status.DONE, node.pk)


def test_once_the_step_was_begun_there_may_be_something_on_it(
    admin: User, node: Node, other: Node, image: Image
) -> None:
    task = ask(admin)
    fake.node(node.pk).fail("image_status", AWAY[1])
    engine.run(task.pk, "test")
    fake.node(node.pk).fail("host_info", AWAY[1])
    assert (run_task(task).status, Vm.objects.get().node_id) == (Status.DONE, node.pk)


def test_one_that_fails_later_is_undone_where_it_went(admin: User, node: Node, other: Node, image: Image) -> None:
    task = ask(admin)
    fake.node(node.pk).fail("host_info", AWAY[0])
    refusal = LibvirtFailure(node="fake2", command="host_start", text="no emulator", libvirt_code=1)
    fake.node(other.pk).fail("host_start", refusal)
    assert run_task(task).status == Status.FAILED
    left = [path for path in fake.node(other.pk).files if "/volumes/" in path]
    assert not Vm.objects.exists() and left == [] and fake.node(other.pk).domains == {}
