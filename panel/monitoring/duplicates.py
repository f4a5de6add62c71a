"""Domains of a VM's UUID on nodes that the VM does not belong to.

Two that are active at once may both write to the VM's disks. Nothing is done about it but to say so
and to refuse what would make it worse, until a person decides (vm.settle).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from panel.cluster.models import Node
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
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
    """What a batch says of one node in the end: strangers that are active, and those that are not any more."""

    node: Node
    whole: bool = False
    active: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)


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


def say(vm: Vm) -> None:
    """Have the problem open, or closed, that the VM's sightings are; `vm` is a row taken FOR UPDATE."""
    sightings = list(vm.sightings.select_related("node"))
    undecided = [each for each in sightings if not each.accepted]
    if vm.seen_elsewhere != bool(undecided):
        vm.seen_elsewhere = bool(undecided)
        vm.save(update_fields=["seen_elsewhere"])
    if not sightings:
        close_problem(_key(vm))
        return
    elsewhere = ", ".join(f"“{each.node.name}”" for each in sightings)
    if not undecided:
        text, severity = f"A copy of VM “{vm.name}” that was decided against is still active on {elsewhere}.", "warning"
    elif vm.status in ACTIVE:
        text = (
            f"VM “{vm.name}” is active on “{vm.node.name}” and on {elsewhere} at the same time. "
            "Both may write to its disks. Say which one is right."
        )
        severity = Severity.ALARM
    else:
        text = f"VM “{vm.name}” is active on {elsewhere}, but belongs to “{vm.node.name}”. Say which one is right."
        severity = Severity.ERROR
    open_problem(_key(vm), text, severity=severity, object_type="vm", object_id=vm.pk)


def _key(vm: Vm) -> str:
    return f"vm:{vm.pk}:duplicate"


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
                last.ended.discard(uuid)
            else:
                last.active.pop(uuid, None)
                last.ended.add(uuid)
    return found


def _forget(known: Mapping[tuple[int, str], Sighting], last: Mapping[int, _Last]) -> set[int]:
    gone = []
    for (node_id, uuid), row in known.items():
        of_node = last.get(node_id)
        if of_node and (uuid in of_node.ended or (of_node.whole and uuid not in of_node.active)):
            gone.append(row)
    if gone:
        Sighting.objects.filter(pk__in=[row.pk for row in gone]).delete()
    return {row.vm_id for row in gone}


def _remember(known: Mapping[tuple[int, str], Sighting], last: Mapping[int, _Last]) -> set[int]:
    news = {(pk, uuid) for pk, of_node in last.items() for uuid in of_node.active if (pk, uuid) not in known}
    if not news:
        return set()
    vms = {str(vm.uuid): vm for vm in Vm.objects.filter(uuid__in={uuid for _, uuid in news})}
    moves = {row.vm_id: row for row in Migration.objects.filter(vm__in=vms.values())}
    rows = []
    for node_id, uuid in sorted(news):
        vm = vms.get(uuid)
        if vm is not None and vm.node_id != node_id:
            if _is_move(moves.get(vm.pk), node_id, last[node_id].active[uuid][1]):
                continue
            state, at = last[node_id].active[uuid]
            rows.append(Sighting(vm=vm, node=last[node_id].node, status=state, seen_at=at))
    Sighting.objects.bulk_create(rows, ignore_conflicts=True)
    return {row.vm_id for row in rows}


def _is_move(move: Migration | None, node_id: int, at: datetime) -> bool:
    """Whether it is only that the VM was on its way at that time: both nodes show it then, and one of them paused."""
    if move is None or node_id not in (move.source_id, move.target_id):
        return False
    return move.started_at <= at and (move.ended_at is None or at <= move.ended_at)
