"""What was observed of VMs becomes their status and history. Nothing else changes a VM's status.

Observations come in any order and more than once: each is put where it belongs, and an older one
never overwrites a newer one. Many are written with few queries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from panel.cluster.models import Node
from panel.core import live, request_id
from panel.tasks import locks, queue
from panel.vms import missing
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.vms.usage import note_size, waits

TICK = timedelta(microseconds=1)
ROWS_A_QUERY = 1000
OFF = (VmStatus.SHUT_OFF, VmStatus.CRASHED)
COLUMNS = (
    *("status", "observed_at", "observed_node_id", "observed_epoch", "observed_sequence"),
    *("observed_clock", "observed_boot", "observed_by_task"),
)
"""What an observation changes of a VM's row."""


@dataclass(frozen=True)
class Observation:
    """What was seen of a VM, where, when by the panel's clock, and why.

    `epoch` and `sequence` are vmwatch's; both 0 for what a task read by itself and for silence. `clock` and `boot` are
    the node's own time of it, of which a task's reading and vmwatch's word of one node can be compared; empty: unknown.
    A task's `at` is when its command was sent, `answered_at` when the answer was there.
    """

    status: str
    at: datetime
    cause: str
    node: Node | None = None
    epoch: int = 0
    sequence: int = 0
    task_id: int | None = None
    detail: str = ""
    request_id: str = ""
    clock: float = 0.0
    boot: str = ""
    answered_at: datetime | None = None


class StatusLog:
    """Observations of one transaction: record() each in the order of arrival, then write() once.

    The VMs must be rows taken FOR UPDATE in that transaction, one object for each row.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Vm] = {}
        self._changed: dict[int, Vm] = {}
        self._rows: list[StatusChange] = []
        self._late: list[tuple[Vm, Observation]] = []
        self._gone: dict[int, Vm] = {}
        self._back: set[int] = set()

    def record(self, vm: Vm, seen: Observation) -> bool:
        """Take an observation; True when it changed the VM's status.

        What a task read and what vmwatch says of the same node are ordered by that node's clock. Where one of them
        does not tell it, a task's reading counts as taken when its command was sent (`at`), so an event that came
        meanwhile is never overwritten by it. A message of vmwatch that is older than what is known becomes history
        only.
        """
        if seen.epoch:
            if _is_late(vm, seen):
                if vm.observed_node_id == (seen.node.pk if seen.node else None):
                    self._late.append((vm, _before_reading(vm, seen)))
                return False
            at = max(seen.at, vm.observed_at or seen.at)
            vm.observed_epoch, vm.observed_sequence = seen.epoch, seen.sequence
        else:
            if _is_old_reading(vm, seen):
                return False
            # What is known was before it: then the time of its answer is nearer to when the node looked.
            when = seen.answered_at if seen.answered_at and _by_clock(vm, seen) is not None else seen.at
            # Two rows at the same time would be told apart by vmwatch's numbers, which this one has not.
            at = max(when, vm.observed_at + TICK if vm.observed_at else when)
        changed = vm.status != seen.status
        if changed:
            self._note_missing(vm, seen)
        self._rows.append(_row(vm, seen, at, repeated=not changed))
        vm.status, vm.observed_at, vm.observed_by_task = seen.status, at, seen.cause == Cause.TASK and not seen.epoch
        vm.observed_clock, vm.observed_boot = seen.clock, seen.boot
        if seen.node is not None:
            vm.observed_node = seen.node
        self._seen[vm.pk] = vm
        if changed:
            self._changed[vm.pk] = vm
        return changed

    def _note_missing(self, vm: Vm, seen: Observation) -> None:
        """A domain that somebody took away is a problem until it is back; what a task takes away is its own matter."""
        if seen.status == VmStatus.MISSING:
            self._gone[vm.pk] = vm
        elif vm.status == VmStatus.MISSING:
            self._gone.pop(vm.pk, None)
            self._back.add(vm.pk)

    def confirm(self, vms: Iterable[Vm], seen: Observation) -> None:
        """The VMs were seen again with the status that they have, whatever `seen` says of it; that is no history."""
        for vm in vms:
            vm.observed_at, vm.observed_node = max(seen.at, vm.observed_at or seen.at), seen.node
            vm.observed_epoch, vm.observed_sequence, vm.observed_by_task = seen.epoch, seen.sequence, False
            vm.observed_clock, vm.observed_boot = seen.clock, seen.boot
            self._seen[vm.pk] = vm

    def write(self) -> None:
        """Write all of it; pages are told after the transaction."""
        _update(self._seen.values())
        # Whatever waited for the next start has waited long enough.
        off = [vm.pk for vm in self._changed.values() if vm.pending and vm.status in OFF]
        if off:
            Vm.objects.filter(pk__in=off).update(pending=[])
            for vm in self._changed.values():
                if vm.pk in off and waits(vm):
                    note_size(vm.pk)
        StatusChange.objects.bulk_create(self._rows, batch_size=ROWS_A_QUERY)
        for vm, seen in self._late:
            _insert_late(vm, seen)
        held = locks.holders("vm", list(self._gone)) if self._gone else {}
        for pk, vm in self._gone.items():
            if pk not in held:
                missing.report(vm)
        if back := self._back - self._gone.keys():
            missing.over(back)
        changed = list(self._changed.values())
        if changed:
            transaction.on_commit(lambda: tell_pages(changed))
            transaction.on_commit(lambda: queue.wake("vm", [vm.pk for vm in changed]))


def tell_pages(vms: Iterable[Vm]) -> None:
    """Tell open pages of the VMs' state; call after commit."""
    live.publish_many("vm", [_payload(vm, gone=False) for vm in vms])


def tell_gone(vm: Vm) -> None:
    """Tell open pages that a VM is no more; call after commit."""
    live.publish_many("vm", [_payload(vm, gone=True)])


def _payload(vm: Vm, *, gone: bool) -> dict[str, object]:
    return {
        "id": vm.pk,
        "owner": vm.owner_id,
        "name": vm.name,
        "status": vm.status,
        "wanted": vm.wanted,
        "observed_at": vm.observed_at or timezone.now(),
        "order": vm.order,
        "gone": gone,
    }


def _is_late(vm: Vm, seen: Observation) -> bool:
    """Whether more is known of the VM already than this message of vmwatch says."""
    if seen.node is None or vm.observed_node_id != seen.node.pk:
        # What another node said before the VM came here does not compare by numbers.
        return vm.observed_at is not None and seen.at < vm.observed_at and bool(vm.observed_epoch)
    if (seen.epoch, seen.sequence) <= (vm.observed_epoch, vm.observed_sequence):
        return True
    return precedes_reading(vm, seen)


def precedes_reading(vm: Vm, seen: Observation) -> bool:
    """Whether a task has read the VM since vmwatch saw this."""
    if not vm.observed_by_task:
        return False
    if (ours := _by_clock(vm, seen)) is not None:
        return ours <= 0
    return vm.observed_at is not None and seen.at < vm.observed_at


def follows_reading(vm: Vm, seen: Observation) -> bool:
    """Whether the node's own clock says that vmwatch saw this after a task's reading, the last that is known."""
    ours = _by_clock(vm, seen)
    return vm.observed_by_task and ours is not None and ours > 0


def _before_reading(vm: Vm, seen: Observation) -> Observation:
    """What vmwatch saw, at a time of before the task's reading if it was; by the panel's clock it may seem later."""
    if vm.observed_at is None or not precedes_reading(vm, seen):
        return seen
    return replace(seen, at=min(seen.at, vm.observed_at - TICK))


def _is_old_reading(vm: Vm, seen: Observation) -> bool:
    """Whether more is known of the VM already than a task's reading, or a node's silence, says."""
    if (ours := _by_clock(vm, seen)) is not None:
        return ours < 0
    return vm.observed_at is not None and seen.at < vm.observed_at


def _by_clock(vm: Vm, seen: Observation) -> float | None:
    """How many seconds after what is known this was seen, by the node's clock; None where that does not say."""
    if not seen.boot or seen.boot != vm.observed_boot or seen.node is None or seen.node.pk != vm.observed_node_id:
        return None
    return seen.clock - vm.observed_clock


def _row(vm: Vm, seen: Observation, at: datetime, *, repeated: bool) -> StatusChange:
    return StatusChange(
        vm=vm,
        status=seen.status,
        detail=seen.detail[:64],
        at=at,
        node=seen.node,
        cause=seen.cause,
        task_id=seen.task_id,
        request_id=seen.request_id or request_id.current(),
        epoch=seen.epoch,
        sequence=seen.sequence,
        repeated=repeated,
    )


def _update(vms: Iterable[Vm]) -> None:
    """Write what was observed of the VMs; those that differ in nothing but their id go in one query."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for vm in vms:
        values: tuple[Any, ...] = tuple(getattr(vm, column) for column in COLUMNS)
        alike.setdefault(values, []).append(vm.pk)
    single = []
    for values, pks in alike.items():
        if len(pks) == 1:
            single.append((*values, pks[0]))
        else:
            fields: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
            for start in range(0, len(pks), ROWS_A_QUERY):
                Vm.objects.filter(pk__in=pks[start : start + ROWS_A_QUERY]).update(**fields)
    if single:
        table = connection.ops.quote_name(Vm._meta.db_table)
        assignments = ", ".join(f"{column} = %s" for column in COLUMNS)
        with connection.cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET {assignments} WHERE id = %s", single)


def _insert_late(vm: Vm, seen: Observation) -> None:
    """Put an observation into the history where it belongs; the VM's status stays as it is."""
    rows = StatusChange.objects.filter(vm=vm)
    newer = Q(epoch__gt=seen.epoch) | Q(epoch=seen.epoch, sequence__gt=seen.sequence) | Q(epoch=0, at__gt=seen.at)
    order = ("at", "epoch", "sequence", "id")
    after = rows.filter(newer).order_by(*order).first()
    before = rows.exclude(newer).order_by(*(f"-{field}" for field in order)).first()
    at = max(seen.at, before.at) if before is not None else seen.at
    if after is not None:
        at = min(at, after.at)
    _row(vm, seen, at, repeated=before is not None and before.status == seen.status).save()
    if after is not None:
        StatusChange.objects.filter(pk=after.pk).update(repeated=after.status == seen.status)
    elif vm.status != seen.status:
        # That the VM is something else since was known from a full report that changed nothing.
        since = max(vm.observed_at or at, at + TICK)
        now = Observation(
            vm.status, since, Cause.VMWATCH, seen.node, vm.observed_epoch, vm.observed_sequence, detail="seen"
        )
        _row(vm, now, since, repeated=False).save()
