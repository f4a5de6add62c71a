"""Snapshots, disks, addresses and copies of VMs, and what is deleted, over the classic API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from panel.cluster import fake
from panel.cluster.models import Node, NodeState
from panel.images.models import Flavor, Iso
from panel.tasks.models import Status, Task
from panel.vms.models import Disk, Interface, Snapshot, Vm
from tests.db.conftest import make_node
from tests.db.mgrapi.classic import World, doc_of, error_of, rows_of, values_of
from tests.db.mgrapi.test_orders import ORDER


@pytest.fixture(autouse=True)
def database(transactional_db: None) -> Iterator[None]:
    """No transaction around a test: the engine's heartbeat has a connection of its own, and would wait for its rows."""
    fake.reset()
    yield
    fake.reset()


@pytest.fixture
def vm(world: World, run_tasks: Callable[[], None]) -> Vm:
    """A customer's VM that its node has."""
    made = values_of(world.call("admin", "vm.edit", **{**ORDER, "user": "anna"}))
    run_tasks()
    return Vm.objects.get(pk=made["id"])


def done() -> None:
    """No task failed. A check that the panel asked for itself since, as of a node that was silent, may still wait."""
    others = Task.objects.exclude(status=Status.DONE).exclude(operation="node.check", status=Status.QUEUED)
    assert not others.exists(), list(others.values_list("operation", "error"))


def test_snapshots_are_taken_gone_back_to_and_deleted(world: World, vm: Vm, run_tasks: Callable[[], None]) -> None:
    plid = {"plid": str(vm.pk)}
    made = values_of(world.call("anna", "snapshot.edit", sok="ok", name="one", description="first", **plid))
    run_tasks()
    (row,) = rows_of(world.call("anna", "snapshot", **plid))
    assert (row["id"], row["name"], row["status"], row["memory"]) == (made["id"], "one", "ready", "on")
    assert rows_of(world.call("anna", "snapshot", elid=str(vm.pk))) == [row]
    assert values_of(world.call("anna", "snapshot.edit", elid=made["id"]))["description"] == "first"
    doc_of(world.call("anna", "snapshot.revert", elid=made["id"]))
    run_tasks()
    doc_of(world.call("anna", "snapshot.delete", elid=made["id"]))
    run_tasks()
    done()
    assert not Snapshot.objects.exists()
    assert error_of(world.call("anna", "snapshot.delete", elid=made["id"])) == ("missed", "snapshot")


def test_disks_are_added_grown_and_deleted(world: World, vm: Vm, run_tasks: Callable[[], None]) -> None:
    plid = {"plid": str(vm.pk)}
    made = values_of(world.call("anna", "volume.edit", sok="ok", size="1500", **plid))["id"]
    run_tasks()
    rows = rows_of(world.call("anna", "volume", **plid))
    assert [(row["target"], row["size"]) for row in rows] == [("vda", "10240"), ("vdb", "2048")]
    assert "pool" not in rows[0] and rows_of(world.call("admin", "volume", **plid))[0]["pool"]
    doc_of(world.call("anna", "volume.edit", sok="ok", elid=made, size="3072"))
    run_tasks()
    assert values_of(world.call("anna", "volume.edit", elid=made))["size"] == "3072"
    assert error_of(world.call("anna", "volume.edit", sok="ok", elid=made, size="1024")) == ("value", "size")
    assert error_of(world.call("anna", "volume.edit", sok="ok", **plid)) == ("missed", "size")
    doc_of(world.call("anna", "volume.delete", elid=made))
    run_tasks()
    done()
    assert Disk.objects.filter(vm=vm).count() == 1


def test_the_addresses_of_a_vm_are_listed_by_either_name_of_it(world: World, vm: Vm) -> None:
    for name in ("plid", "elid"):
        (row,) = rows_of(world.call("admin", "iplist", **{name: str(vm.pk)}))
        assert row["vm"] == str(vm.pk)
    assert error_of(world.call("bert", "iplist", elid=str(vm.pk))) == ("missed", "vm")
    assert len(rows_of(world.call("admin", "iplist"))) == 2


def test_an_address_is_given_back(world: World, vm: Vm, run_tasks: Callable[[], None]) -> None:
    made = values_of(world.call("anna", "iplist.edit", sok="ok", plid=str(vm.pk), family="ipv4"))["id"]
    run_tasks()
    doc_of(world.call("anna", "iplist.delete", elid=made, plid=str(vm.pk)))
    run_tasks()
    done()
    assert Interface.objects.filter(vm=vm).count() == 1


def test_a_vm_is_copied(world: World, vm: Vm, run_tasks: Callable[[], None]) -> None:
    made = values_of(world.call("anna", "vm.clone", sok="ok", elid=str(vm.pk), name="Copy"))
    run_tasks()
    done()
    copy = Vm.objects.get(pk=made["id"])
    assert (copy.name, copy.owner.name, made["ip"]) == ("copy", "anna", copy.interfaces.get().ip)


def test_what_an_administrator_deletes_is_gone_all_of_it_or_nothing(
    world: World, run_tasks: Callable[[], None]
) -> None:
    assert error_of(world.call("admin", "preset.delete", elid="small, none")) == ("missed", "elid")
    assert error_of(world.call("admin", "iso.delete", elid="rescue, none")) == ("missed", "iso")
    assert Flavor.objects.filter(name="small").exists() and Iso.objects.exists()
    doc_of(world.call("admin", "preset.delete", elid="small"))
    doc_of(world.call("admin", "iso.delete", elid="40"))
    assert not Flavor.objects.filter(name="small").exists() and not Iso.objects.exists()
    empty = make_node("fake2")
    assert error_of(world.call("admin", "vmhostnode.delete", elid=f"{empty.pk}, 20")) == ("state", "hostnode")
    assert Node.objects.get(pk=empty.pk).state == NodeState.READY
    doc_of(world.call("admin", "vmhostnode.delete", elid=str(empty.pk)))
    run_tasks()
    done()
    assert not Node.objects.filter(pk=empty.pk).exists()
