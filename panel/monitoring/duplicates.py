"""Domains of a VM's UUID on nodes that the VM does not belong to.

Two that are active at once may both write to the VM's disks. Nothing is done about it but to say so
and to refuse what would make it worse, until a person decides (vm.settle). One that went off is remembered as long as
the VM's own node does not run it: the newest data are where it ran last (vms/elsewhere.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from panel.cluster.models import Node
from panel.vms.elsewhere import say
from panel.vms.models import Migration, Sighting, Vm, VmStatus

ACTIVE = (VmStatus.RUNNING, VmStatus.PAUSED)


@dataclass(frozen=True)
class Sight:
    """What a message of `node` says of domains that are not its own VMs'; `whole` when it has no others."""

    node: Node
    at: datetime
    states: Mapping[str, str]
    whole: bool


@dataclass
class _Last:
    """What a batch says of one node in the end: strangers that are active, and those that are not, by their states."""

    node: Node
    whole: bool = False
    active: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    ran: dict[str, datetime] = field(default_factory=dict)


def compare(sights: Iterable[Sight], own: Mapping[int, Mapping[str, Vm]]) -> None:
    """Remember what is active where it does not belong, and say or unsay it.

    `own` are the VMs of the batch, by node and UUID: what they do themselves changes how bad it is.
    """
    last = _last_of(sights)
    # A table that is empty as long as all is well: read whole.
    known = {(row.node_id, str(row.vm.uuid)): row for row in Sighting.objects.select_related("vm")}
    touched = {vm.pk for of_node in own.values() for vm in of_node.values()}
    affected = {row.vm_id for row in known.values() if row.vm_id in touched}
    affected |= _forget(known, last)
    affected |= _remember(known, last)
    if affected:
        for vm in Vm.objects.select_for_update().filter(pk__in=affected).order_by("pk"):
            say(vm)


def _last_of(sights: Iterable[Sight]) -> dict[int, _Last]:
    found: dict[int, _Last] = {}
    for sight in sights:
        last = found.setdefault(sight.node.pk, _Last(sight.node))
        if sight.whole:
            last.whole = True
            last.active.clear()
            last.ended.clear()
        for uuid, state in sight.states.items():
            if state in ACTIVE:
                last.active[uuid] = (state, sight.at)
                last.ran[uuid] = sight.at
                last.ended.pop(uuid, None)
            else:
                last.active.pop(uuid, None)
                last.ended[uuid] = state
    return found


def _forget(known: Mapping[tuple[int, str], Sighting], last: Mapping[int, _Last]) -> set[int]:
    """What is not active any more is no sighting, unless it was the last to run."""
    gone, changed = [], set()
    for (node_id, uuid), row in known.items():
        of_node, runs_here = last.get(node_id), row.vm.status in ACTIVE
        if row.status not in ACTIVE:
            if runs_here and not (of_node and uuid in of_node.active):
                gone.append(row)
        elif of_node and (uuid in of_node.ended or (of_node.whole and uuid not in of_node.active)):
            if runs_here or row.accepted:
                gone.append(row)
            else:
                Sighting.objects.filter(pk=row.pk).update(status=of_node.ended.get(uuid, VmStatus.MISSING))
                changed.add(row.vm_id)
    if gone:
        Sighting.objects.filter(pk__in=[row.pk for row in gone]).delete()
    return changed | {row.vm_id for row in gone}


def _remember(known: Mapping[tuple[int, str], Sighting], last: Mapping[int, _Last]) -> set[int]:
    active = {(pk, uuid): seen for pk, of_node in last.items() for uuid, seen in of_node.active.items()}
    back = {key: known[key] for key in active if key in known and known[key].status not in ACTIVE}
    for key, row in back.items():
        Sighting.objects.filter(pk=row.pk).update(status=active[key][0], seen_at=active[key][1])
    again = {row.vm_id for row in back.values()}
    # Some went off again within the batch.
    news = {(pk, uuid) for pk, of_node in last.items() for uuid in of_node.ran} - known.keys()
    if not news:
        return again
    vms = {str(vm.uuid): vm for vm in Vm.objects.filter(uuid__in={uuid for _, uuid in news})}
    moves = {row.vm_id: row for row in Migration.objects.filter(vm__in=vms.values())}
    rows = []
    for node_id, uuid in sorted(news):
        vm = vms.get(uuid)
        if vm is not None and vm.node_id != node_id:
            of_node = last[node_id]
            state, at = of_node.active.get(uuid) or (of_node.ended.get(uuid, VmStatus.MISSING), of_node.ran[uuid])
            if _is_move(moves.get(vm.pk), node_id, at) or (state not in ACTIVE and vm.status in ACTIVE):
                continue
            rows.append(Sighting(vm=vm, node=of_node.node, status=state, seen_at=at))
    Sighting.objects.bulk_create(rows, ignore_conflicts=True)
    return again | {row.vm_id for row in rows}


def _is_move(move: Migration | None, node_id: int, at: datetime) -> bool:
    """Whether it is only that the VM was on its way at that time: both nodes show it then, and one of them paused."""
    if move is None or node_id not in (move.source_id, move.target_id):
        return False
    return move.started_at <= at and (move.ended_at is None or at <= move.ended_at)
