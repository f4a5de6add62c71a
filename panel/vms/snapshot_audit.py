"""Comparing the snapshots that libvirt has of VMs with the rows, with every check of a node.

Those that are gone are missing and cannot be gone back to; those that somebody took by hand are kept with the VM and
told; a deletion or creation that no task is at any more has failed. Nothing of it changes the node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from nodeagent.protocol.audit import Kept
from nodeagent.protocol.snapshot import SnapshotState as Seen
from panel.tasks import locks
from panel.vms import services, snapshots
from panel.vms.models import Snapshot, SnapshotState, Vm

STRAY = (SnapshotState.CREATING, SnapshotState.DELETING)
"""States that only a task at the VM leads on."""


def record_all(vms: Collection[int], uuids: Mapping[str, int], kept: Iterable[Kept] | None) -> None:
    """What libvirt has of the snapshots of `vms`, whose domains were seen, is kept; None: nobody looked."""
    if kept is None:
        return
    found = {uuids[each.uuid]: each.snapshots for each in kept if each.uuid in uuids}
    having = set(Snapshot.objects.filter(vm__in=vms).values_list("vm", flat=True))
    noted = set(Vm.objects.filter(pk__in=vms).exclude(unmanaged_snapshots=[]).values_list("pk", flat=True))
    for pk in sorted(having | noted | (found.keys() & set(vms))):
        record(pk, found.get(pk, []))


def record(pk: int, seen: Iterable[Seen], *, held: bool = False) -> None:
    """The same of one VM, unless a task took it while its node was asked; `held` for the task itself."""
    there = {each.name: each for each in seen}
    with transaction.atomic():
        vm = Vm.objects.select_for_update().filter(pk=pk).first()
        if vm is None or (not held and locks.holders("vm", [pk])):
            return
        before = (vm.unmanaged_snapshots, list(vm.snapshots.values_list("pk", "state", "current")))
        rows = list(vm.snapshots.all())
        for row in rows:
            Snapshot.objects.filter(pk=row.pk).update(**_found(row, there.get(row.on_node), held=held))
        known = {row.on_node for row in rows}
        vm.unmanaged_snapshots = [_told(each) for each in _oldest_first(there.values()) if each.name not in known]
        Vm.objects.filter(pk=pk).update(unmanaged_snapshots=vm.unmanaged_snapshots)
        snapshots.report(vm)
        if before != (vm.unmanaged_snapshots, list(vm.snapshots.values_list("pk", "state", "current"))):
            transaction.on_commit(lambda: services.tell_changed(pk))


def _found(row: Snapshot, seen: Seen | None, *, held: bool) -> dict[str, Any]:
    """The columns of a snapshot's row as they are right now."""
    if row.state in STRAY:
        return {} if held else {"state": SnapshotState.FAILED, "reason": "its task ended in the middle"}
    if seen is None:
        return {"current": False} if row.state == SnapshotState.FAILED else {"state": SnapshotState.MISSING}
    state = SnapshotState.READY if row.state == SnapshotState.MISSING else row.state
    return {"state": state, "current": seen.current}


def _oldest_first(seen: Iterable[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda each: (each.created_at, each.name))


def _told(seen: Seen) -> dict[str, Any]:
    """A snapshot of another's as it is kept with the VM."""
    return {
        "name": seen.name,
        "external": seen.external,
        "with_memory": seen.with_memory,
        "state": seen.state,
        "created_at": datetime.fromtimestamp(seen.created_at, UTC).isoformat(),
    }
