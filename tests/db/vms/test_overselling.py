"""What the disks of a storage are promised stays within the cluster's policy: one rule for whatever makes a disk."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Cluster, Node
from panel.core.errors import CapacityError
from panel.images.models import Image
from panel.storage.models import NodePool, Pool
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Vm
from tests.db.at_once import ask_at_once
from tests.db.conftest import GIB, make_node, run_task

ROOM = {"memory_mib": 256, "vcpus": 1, "image": "small", "password": "something long"}


def ask(operation: str, object_id: int | None = None, **raw: Any) -> Task:
    """Ask for an operation."""
    return registry.get(operation).submit(system_user(), raw, object_id=object_id)


def refused(operation: str, object_id: int | None = None, **raw: Any) -> str:
    """Why it is refused, for the VM's node."""
    tasks = Task.objects.count()
    with pytest.raises(CapacityError) as caught:
        ask(operation, object_id, **raw)
    assert Task.objects.count() == tasks
    return str(caught.value.data["candidates"]["fake1"])


@pytest.fixture
def vm(node: Node, image: Image) -> Vm:
    """A VM with a disk of 40 GiB on a storage of 100 GiB."""
    NodePool.objects.update(capacity_bytes=100 * GIB, free_bytes=99 * GIB)
    task = run_task(ask("vm.create", name="web1", disk_gib=40, **ROOM))
    assert task.status == Status.DONE, task.error
    return Vm.objects.get()


def test_a_disk_larger_than_the_storage_is_not_created(node: Node, image: Image) -> None:
    NodePool.objects.update(capacity_bytes=100 * GIB, free_bytes=74 * GIB)
    assert "100 GiB of storage may still be promised" in refused("vm.create", name="web1", disk_gib=5000, **ROOM)
    assert "74 GiB" not in refused("vm.create", name="web1", disk_gib=80, **ROOM)
    assert f"{74 * 1024} MiB of storage free" in refused("vm.create", name="web1", disk_gib=80, **ROOM)
    assert ask("vm.create", name="web1", disk_gib=74, **ROOM)


def test_whatever_makes_a_disk_is_refused_beyond_what_may_be_promised(vm: Vm) -> None:
    left = "60 GiB of storage may still be promised to disks, "
    assert refused("vm.create", name="web2", disk_gib=61, **ROOM).startswith(left + "61 GiB needed")
    assert refused("vm.add-disk", vm.pk, size_gib=61).startswith(left)
    assert refused("vm.grow-disk", vm.pk, disk="vda", size_gib=101).startswith(left + "61 GiB needed")
    run_task(ask("vm.add-disk", vm.pk, size_gib=30))
    left = "30 GiB of storage may still be promised to disks, "
    assert refused("vm.clone", vm.pk, name="web2").startswith(left + "70 GiB needed")
    assert refused("vm.reinstall", vm.pk, password="something long").startswith(left + "40 GiB needed")
    run_task(ask("vm.add-disk", vm.pk, size_gib=30))
    assert refused("vm.rescue", vm.pk, image="small", password="something long").startswith("0 GiB")
    Cluster.objects.update(disk_overselling_percent=300)
    for task in (
        run_task(ask("vm.create", name="web2", disk_gib=61, **ROOM)),
        run_task(ask("vm.reinstall", vm.pk, password="something long")),
        run_task(ask("vm.rescue", vm.pk, image="small", password="something long")),
    ):
        assert task.status == Status.DONE, task.error


def test_what_is_asked_for_counts_from_that_moment_on(vm: Vm) -> None:
    ask("vm.grow-disk", vm.pk, disk="vda", size_gib=70)
    assert refused("vm.create", name="web2", disk_gib=31, **ROOM).startswith("30 GiB of storage may still be promised")
    assert registry.get("vm.grow-disk").submit(
        system_user(), {"disk": "vda", "size_gib": 90}, object_id=vm.pk, queue=True
    )
    assert refused("vm.create", name="web2", disk_gib=11, **ROOM).startswith("10 GiB")


@pytest.mark.parametrize(("operation", "raw"), [("add-disk", {}), ("grow-disk", {"disk": "vda"})])
def test_of_two_who_ask_for_the_last_room_at_once_one_has_it(
    vm: Vm, monkeypatch: pytest.MonkeyPatch, operation: str, raw: dict[str, Any]
) -> None:
    run_task(ask("vm.create", name="web2", disk_gib=40, **ROOM))
    asked = {**raw, "size_gib": 60 if raw else 20}
    vms = Vm.objects.values_list("pk", flat=True)
    answers = ask_at_once(monkeypatch, system_user(), f"vm.{operation}", vms, asked)
    assert sorted(type(each).__name__ for each in answers) == ["CapacityError", "NoneType"]


def test_a_move_needs_the_promise_on_its_target_and_a_shared_storage_is_counted_once(vm: Vm, admin: User) -> None:
    other = make_node("fake2")
    NodePool.objects.filter(node=other).update(capacity_bytes=30 * GIB, free_bytes=30 * GIB)
    with pytest.raises(CapacityError) as caught:
        ask("vm.migrate", vm.pk, node="fake2")
    assert caught.value.data["candidates"]["fake2"].startswith("30 GiB of storage may still be promised")
    Pool.objects.update(shared=True)
    fake.node(other.pk).marks = fake.node(vm.node_id).marks
    NodePool.objects.update(capacity_bytes=100 * GIB, free_bytes=100 * GIB)
    assert "60 GiB" in refused("vm.create", name="web2", disk_gib=61, node="fake1", **ROOM)
    with pytest.raises(CapacityError) as caught:
        ask("vm.create", name="web2", disk_gib=61, node="fake2", **ROOM)
    assert caught.value.data["candidates"]["fake2"].startswith("60 GiB")


def test_a_vm_goes_to_the_first_storage_with_room_or_to_the_one_that_was_named(vm: Vm) -> None:
    second = Pool.objects.create(cluster=vm.cluster, name="second", options={"path": "/srv/second/pool"})
    NodePool.objects.create(node=vm.node, pool=second, capacity_bytes=200 * GIB, free_bytes=200 * GIB)
    fake.node(vm.node_id).pools.add(second.name)
    assert refused("vm.create", name="web2", disk_gib=150, pool="local", **ROOM)
    # Nothing has room for this: what is said is of the first.
    assert refused("vm.create", name="web2", disk_gib=300, **ROOM) == refused(
        "vm.create", name="web2", disk_gib=300, pool="local", **ROOM
    )
    task = run_task(ask("vm.create", name="web2", disk_gib=150, **ROOM))
    made = Vm.objects.get(pk=task.object_id)
    assert (made.pool, made.disks.get().volume.pool) == (second, second)
    assert Vm.objects.get(pk=run_task(ask("vm.create", name="web3", disk_gib=1, **ROOM)).object_id).pool == vm.pool


def test_the_policy_is_shown_and_set_within_its_bounds(api: APIClient, node: Node) -> None:
    assert api.get("/api/v1/cluster").json()["disk_overselling_percent"] == 100
    assert api.patch("/api/v1/cluster", {"disk_overselling_percent": 250}).json()["disk_overselling_percent"] == 250
    for value in (49, 10001, None):
        assert api.patch("/api/v1/cluster", {"disk_overselling_percent": value}, format="json").status_code == 400


def test_a_storage_has_a_policy_of_its_own_beside_the_clusters(vm: Vm, api: APIClient) -> None:
    address = f"/api/v1/pools/{vm.pool_id}"
    assert api.get(address).json()["disk_overselling_percent"] is None
    second = Pool.objects.create(cluster=vm.cluster, name="second", options={"path": "/srv/second"})
    NodePool.objects.create(node=vm.node, pool=second, capacity_bytes=100 * GIB, free_bytes=99 * GIB)
    fake.node(vm.node_id).pools.add("/srv/second")
    assert api.patch(address, {"disk_overselling_percent": 200}).json()["disk_overselling_percent"] == 200
    left = "160 GiB of storage may still be promised to disks, 161 GiB needed (disk_overselling_percent is 200)"
    assert refused("vm.create", name="web2", disk_gib=161, pool="local", **ROOM) == left
    assert refused("vm.add-disk", vm.pk, size_gib=161) == left
    assert refused("vm.create", name="web2", disk_gib=101, pool="second", **ROOM).startswith("100 GiB")
    assert ask("vm.create", name="web2", disk_gib=160, pool="local", **ROOM)
    # A storage of its own policy does not follow the cluster's; without one it does.
    Cluster.objects.update(disk_overselling_percent=500)
    assert refused("vm.add-disk", vm.pk, size_gib=1).startswith("0 GiB")
    assert api.patch(address, {"disk_overselling_percent": None}, format="json").status_code == 200
    assert refused("vm.add-disk", vm.pk, size_gib=301).startswith("300 GiB")
    for value in (49, 10001, "much"):
        answer = api.patch(address, {"disk_overselling_percent": value}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, "disk_overselling_percent")
