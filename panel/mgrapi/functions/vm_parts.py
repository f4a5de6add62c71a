"""`snapshot`, `volume` and what belongs to them: the snapshots and disks of VMs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows, Translated
from panel.mgrapi.functions.lists import listed
from panel.mgrapi.functions.presets import MIB_PER_GIB
from panel.tasks import registry
from panel.vms.models import Disk, Snapshot
from panel.vms.selectors import get_vm, list_vms

SNAPSHOT_FILTERS = {"id": "pk", "name": "name__icontains"}
VOLUME_FILTERS = {"id": "pk"}


def _snapshots(viewer: User) -> QuerySet[Snapshot]:
    return Snapshot.objects.select_related("vm").filter(vm__in=list_vms(viewer).order_by().values("pk"))


def _disks(viewer: User) -> QuerySet[Disk]:
    seen = list_vms(viewer).order_by().values("pk")
    return Disk.objects.select_related("vm", "volume__pool").filter(vm__in=seen).order_by("pk")


def _of_vm(viewer: User, call: Call, found: QuerySet[Any]) -> QuerySet[Any]:
    """Those of the VM `plid`, or `elid` alone, as the list of VMs leads there; raises NotFound."""
    name = "plid" if call.text("plid") else "elid"
    return found.filter(vm=get_vm(viewer, call.id(name)).pk) if call.text(name) else found


def _snapshot_row(snapshot: Snapshot) -> Mapping[str, Cell]:
    return {
        "id": snapshot.pk,
        "name": snapshot.name,
        "vm": snapshot.vm.name,
        "plid": snapshot.vm_id,
        "description": snapshot.description,
        "status": Translated(snapshot.state, snapshot.get_state_display()),
        "date": snapshot.created_at.isoformat(timespec="seconds"),
        "memory": snapshot.with_memory,
        "current": snapshot.current,
    }


def snapshot(viewer: User, call: Call) -> Rows:
    """The snapshots of the VM `plid` (or `elid`), or of all that the viewer sees."""
    return listed(call, _of_vm(viewer, call, _snapshots(viewer)), _snapshot_row, SNAPSHOT_FILTERS)


def snapshot_edit(viewer: User, call: Call) -> Answer:
    """Without `elid` a snapshot of the VM `plid`, with its memory where it runs; with it, what is known of one."""
    if call.text("elid"):
        row = _one(call, _snapshots(viewer), "snapshot")
        if call.sok:
            raise InvalidValue("A snapshot cannot be changed.", field="elid")
        return Form({"elid": row.pk, **_snapshot_row(row)})
    vm = get_vm(viewer, call.id("plid"))
    if not call.sok:
        return Form({"plid": vm.pk, "name": "", "description": ""})
    asked = {"name": call.need("name"), "description": call.text("description", "notes")}
    task = registry.get("vm.snapshot").submit(viewer, asked, object_id=vm.pk, queue=True)
    made = task.steps.get(position=0).output["result"]["snapshot"]
    return Done({"id": made, "elid": made})


def snapshot_revert(viewer: User, call: Call) -> Done:
    """The VM goes back to the snapshot `elid`; what happened since is lost."""
    permissions.require(viewer, "vms.snapshot")
    row = _one(call, _snapshots(viewer), "snapshot")
    registry.get("vm.revert-snapshot").submit(viewer, {"snapshot": row.pk}, object_id=row.vm_id, queue=True)
    return Done()


def snapshot_delete(viewer: User, call: Call) -> Done:
    """The snapshots are deleted; those that were taken after them stay."""
    permissions.require(viewer, "vms.snapshot")
    with transaction.atomic():
        for row in _named(call, _snapshots(viewer), "snapshot"):
            registry.get("vm.delete-snapshot").submit(viewer, {"snapshot": row.pk}, object_id=row.vm_id, queue=True)
    return Done()


def volume(viewer: User, call: Call) -> Rows:
    """The disks of the VM `plid` (or `elid`), or of all that the viewer sees, with their sizes in MiB."""
    sees_pools = permissions.allows(viewer, "cluster.view")

    def row(disk: Disk) -> Mapping[str, Cell]:
        return _volume_row(disk, sees_pools)

    return listed(call, _of_vm(viewer, call, _disks(viewer)), row, VOLUME_FILTERS)


def _volume_row(disk: Disk, sees_pools: bool) -> Mapping[str, Cell]:
    return {
        "id": disk.pk,
        "name": f"{disk.vm.name}_{disk.target}",
        "vm": disk.vm.name,
        "plid": disk.vm_id,
        "target": disk.target,
        "size": disk.volume.size_gib * MIB_PER_GIB,
        "format": disk.volume.format,
        "bus": disk.bus,
        "pool": disk.volume.pool.name if sees_pools else None,
    }


def volume_edit(viewer: User, call: Call) -> Answer:
    """Without `elid` one more disk for the VM `plid`; with it, another size: larger, in MiB."""
    if call.text("elid"):
        return _disk_changed(viewer, call)
    vm = get_vm(viewer, call.id("plid"))
    if not call.sok:
        return Form({"plid": vm.pk, "size": "", "pool": ""})
    asked: dict[str, Any] = {"size_gib": _gib(call)}
    if pool := call.text("pool"):
        asked["pool"] = pool
    task = registry.get("vm.add-disk").submit(viewer, asked, object_id=vm.pk)
    made = task.steps.get(position=0).output["disk"]
    return Done({"id": made, "elid": made})


def _disk_changed(viewer: User, call: Call) -> Answer:
    disk = _one(call, _disks(viewer), "volume")
    if not call.sok:
        return Form({"elid": disk.pk, **_volume_row(disk, permissions.allows(viewer, "cluster.view"))})
    if (size := _gib(call)) != disk.volume.size_gib:
        asked = {"disk": disk.target, "size_gib": size}
        registry.get("vm.grow-disk").submit(viewer, asked, object_id=disk.vm_id, queue=True)
    return Done()


def _gib(call: Call) -> int:
    """`size`, MiB, in whole GiB, upwards; raises MissingValue or InvalidValue."""
    call.need("size")
    return -(-(call.number("size") or 0) // MIB_PER_GIB)


def volume_delete(viewer: User, call: Call) -> Done:
    """The disks are removed, with all that is on them; the one that a VM starts from stays."""
    permissions.require(viewer, "vms.devices")
    with transaction.atomic():
        for disk in _named(call, _disks(viewer), "volume"):
            registry.get("vm.remove-disk").submit(viewer, {"disk": disk.target}, object_id=disk.vm_id, queue=True)
    return Done()


def _one(call: Call, found: QuerySet[Any], kind: str) -> Any:
    if (row := found.filter(pk=call.id()).first()) is None:
        raise NotFound(object=kind, id=call.id())
    return row


def _named(call: Call, found: QuerySet[Any], kind: str) -> list[Any]:
    """Those of `elid`, all of them; raises NotFound naming the first that is not there."""
    there = found.in_bulk(call.ids())
    for pk in call.ids():
        if pk not in there:
            raise NotFound(object=kind, id=pk)
    return [there[pk] for pk in call.ids()]


FUNCTIONS: dict[str, Callable[[User, Call], Answer]] = {
    "snapshot": snapshot,
    "snapshot.edit": snapshot_edit,
    "snapshot.revert": snapshot_revert,
    "snapshot.delete": snapshot_delete,
    "volume": volume,
    "volume.edit": volume_edit,
    "volume.delete": volume_delete,
}
