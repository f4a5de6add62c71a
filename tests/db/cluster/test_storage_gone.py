"""A storage whose file system is not mounted, or read-only: nothing is made there, and no VM is locked for it."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.fake import FakeNode
from panel.cluster.models import Node
from panel.core.errors import WrongState
from panel.doctor.services import look
from panel.images.models import Image
from panel.notices.models import Problem, Severity
from panel.storage.models import NodePool, PoolFault
from panel.tasks import registry
from panel.tasks.models import Status, Task, TaskLock
from panel.tasks.services import retry_undo
from panel.vms.models import Vm, VmStatus
from tests.db.conftest import make_node, run_task


def run(operation: str, object_id: int | None = None, **raw: Any) -> Task:
    """Ask for an operation as the panel itself and carry it out."""
    return run_task(registry.get(operation).submit(system_user(), raw, object_id=object_id))


def complaints(node: Node) -> list[str]:
    """What a check of the node complains of."""
    task = run("node.check", node.pk)
    assert task.status == Status.DONE, task.error
    return list(task.result["complaints"])


@pytest.fixture
def memory(node: Node) -> FakeNode:
    """The node in memory, checked once, so that its storage is known."""
    assert complaints(node) == []
    return fake.node(node.pk)


@pytest.fixture
def pool(memory: FakeNode, node: Node) -> NodePool:
    """Its storage."""
    return NodePool.objects.get(node=node)


@pytest.fixture
def vm(memory: FakeNode, image: Image) -> Vm:
    """A VM that runs there."""
    task = run("vm.create", name="web1", image="small", flavor="small")
    assert task.status == Status.DONE, task.error
    return Vm.objects.get()


def test_a_storage_that_is_not_mounted_is_a_problem_until_it_is_back(
    node: Node, memory: FakeNode, pool: NodePool, vm: Vm, api: APIClient
) -> None:
    name = pool.pool.name
    before = dict(memory.files)
    memory.unmounted.add(name)
    (told,) = complaints(node)
    assert "“local” is not mounted" in told and "mark is gone" in told and "Accept storage" in told
    assert Problem.objects.get(open_key=f"node:{node.pk}:storage").severity == Severity.ERROR
    pool.refresh_from_db()
    assert (pool.fault, pool.free_bytes > 0) == (PoolFault.NOT_MOUNTED, True)
    assert name in memory.unmounted and memory.files == before
    refused = api.post("/api/v1/vms", {"name": "web2", "image": "small", "flavor": "small"})
    assert refused.status_code == 409 and "not mounted" in refused.content.decode()
    vm.refresh_from_db()
    assert vm.status == VmStatus.RUNNING
    found = {finding.code for finding in look()}
    assert "storage_unread" in found and not found & {"file_missing", "domain_missing"}
    memory.unmounted.clear()
    assert complaints(node) == []
    assert not Problem.objects.filter(open_key__isnull=False).exists()
    assert {finding.code for finding in look()} == set()


@pytest.mark.parametrize("fault", ["unmounted", "read_only"])
def test_what_fails_there_before_the_check_has_noticed_leaves_nothing_and_locks_nobody(
    memory: FakeNode, pool: NodePool, vm: Vm, image: Image, fault: str
) -> None:
    before = dict(memory.files)
    getattr(memory, fault).add(pool.pool.name)
    asked = [
        ("vm.create", None, {"name": "web2", "image": "small", "flavor": "small"}),
        ("vm.reinstall", vm.pk, {"password": "something long"}),
        ("vm.rescue", vm.pk, {"image": "small", "password": "something long"}),
        ("vm.add-disk", vm.pk, {"size_gib": 1}),
        ("vm.clone", vm.pk, {"name": "web3"}),
    ]
    for name, object_id, raw in asked:
        task = run(name, object_id, **raw)
        assert (name, task.status) == (name, Status.FAILED), task.error
        assert task.error is not None and task.error["agent_code"] in ("not_mounted", "read_only")
    assert memory.files == before
    assert Vm.objects.count() == 1
    assert not TaskLock.objects.exists()
    assert not Problem.objects.filter(open_key__isnull=False).exists()


def test_what_was_made_before_the_file_system_went_is_undone_when_it_is_back(
    memory: FakeNode, pool: NodePool, image: Image
) -> None:
    def unmount(*_: Any) -> Any:
        memory.unmounted.add(pool.pool.name)
        return real(*_)

    real = memory._volume_grow
    memory._volume_grow = unmount  # type: ignore[method-assign]
    task = run("vm.create", name="web2", image="small", flavor="small")
    assert task.status == Status.STUCK
    memory.unmounted.clear()
    memory._volume_grow = real  # type: ignore[method-assign]
    retry_undo(task, system_user())
    assert run_task(task).status == Status.FAILED
    assert [path for path in memory.files if "/volumes/" in path] == []


def test_a_new_disk_in_its_place_is_accepted_where_somebody_says_so(
    node: Node, memory: FakeNode, pool: NodePool, admin: User
) -> None:
    accept = registry.get("node.accept-storage")
    with pytest.raises(WrongState):
        accept.submit(admin, {"pool": "local"}, object_id=node.pk)
    memory.marks[pool.pool.name] = "f" * 32
    assert "another one is in its place" in complaints(node)[0] or "not mounted" in complaints(node)[0]
    task = run_task(accept.submit(admin, {"pool": "local"}, object_id=node.pk))
    assert task.status == Status.DONE, task.error
    pool.refresh_from_db()
    assert (pool.mark, pool.fault) == ("f" * 32, PoolFault.NONE)
    # VMs are placed there again at once.
    assert not Problem.objects.filter(open_key__isnull=False).exists()
    assert task.result["pool"] == "local"
    assert complaints(node) == []


def test_a_storage_of_an_older_version_is_known_from_its_first_check_on(image: Image) -> None:
    """Its row has no mark, or no devices; both without a false alarm, but not where nothing is there."""
    node = make_node("fake2")
    memory, pool = fake.node(node.pk), NodePool.objects.get(node=node)
    NodePool.objects.update(seen_at="2026-01-01T00:00:00Z")
    assert complaints(node) == []
    pool.refresh_from_db()
    assert pool.mark == memory.marks[pool.pool.name] and pool.devices == {}
    NodePool.objects.update(devices=None)
    memory.devices[pool.pool.name] = {"": "1c7e-22"}
    assert complaints(node) == []
    pool.refresh_from_db()
    assert pool.devices == {"": "1c7e-22"}
    NodePool.objects.update(mark="", devices=None)
    memory.unmounted.add(pool.pool.name)
    assert "not mounted" in complaints(node)[0]


def test_a_node_is_removed_though_its_storage_is_not_mounted(node: Node, memory: FakeNode, pool: NodePool) -> None:
    memory.unmounted.add(pool.pool.name)
    assert run("node.remove", node.pk).status == Status.DONE
    assert not NodePool.objects.exists()


def test_a_vm_is_not_deleted_while_its_disks_cannot_be_seen(memory: FakeNode, pool: NodePool, vm: Vm) -> None:
    memory.unmounted.add(pool.pool.name)
    task = run("vm.delete", vm.pk)
    assert task.status == Status.FAILED and task.error is not None
    assert "is not mounted" in task.error["message"]
    memory.unmounted.clear()
    assert run("vm.delete", vm.pk).status == Status.DONE
    assert [path for path in memory.files if "/volumes/" in path or "/seeds/" in path] == []
