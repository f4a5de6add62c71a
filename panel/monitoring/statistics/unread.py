"""When a VM ran and its counters were not read: traffic is told as not known of these stretches of time.

Counters are collected each ten minutes, and libvirt forgets them when a domain ends. They are read before that by the
command that ends it, or by vmwatch-node, which reads them now and then. What was sent between the last reading and the
end is known to nobody; between the last reading and now it will be known at the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Q, Subquery
from django.utils import timezone

from panel.monitoring.models import Unread, VmCounters, WaitingStatistics
from panel.vms.models import ON, StatusChange, Vm, VmStatus

Period = tuple[datetime, datetime]
Change = tuple[datetime, bool]
"""When a VM began to run (True) or ended."""
ENDED = (VmStatus.SHUT_OFF, VmStatus.CRASHED, VmStatus.MISSING, VmStatus.SAVED)
"""A node's silence is neither."""
MOVED = "migrated"
"""The detail of the history's row with which vm.migrate gives a VM to another node."""
SETTLES = timedelta(minutes=1)
"""How long after something happened the panel may hear of it, and of the counters that were read then."""


def ran(at: datetime, was_on: bool, changes: Iterable[Change]) -> tuple[list[Period], datetime | None]:
    """The stretches from `at` on in which a VM ran and that have ended, and since when it runs still."""
    found: list[Period] = []
    since = at if was_on else None
    for when, on in changes:
        if on and since is None:
            since = when
        elif not on and since is not None:
            found.append((since, when))
            since = None
    return found, since


def keep(before: Sequence[tuple[Vm, VmCounters | None, datetime]]) -> None:
    """Note what was never read of runs that ended before those of which counters are just taken in.

    Given are VMs with their counters as they were before, and when the new run's were collected; that run's own
    count from its start. A VM that had none is told of from its creation on.
    """
    changes = _changes({vm.pk: counters.at if counters else vm.created_at for vm, counters, _at in before})
    rows = []
    for vm, counters, at in before:
        was_on = counters is not None and not counters.closed
        since = counters.at if counters else vm.created_at
        ended, runs = ran(since, was_on, [each for each in changes.get(vm.pk, ()) if each[0] <= at])
        if was_on and runs == since:
            # Its end was not seen: it moved to another node, or was started again at once.
            ended.append((since, at))
        rows += [Unread(vm_id=vm.pk, begin=begin, end=end) for begin, end in ended if begin < end]
    Unread.objects.bulk_create(rows)


def keep_at_the_end(vm_id: int) -> None:
    """A VM is forgotten, and its history with it: what was not read of it until now never is."""
    not_yet, _settled = _not_yet([vm_id], timezone.now())
    Unread.objects.bulk_create(
        Unread(vm_id=vm_id, begin=begin, end=end) for begin, end in not_yet.get(vm_id, ()) if begin < end
    )


def unread(vm_ids: Collection[int], begin: datetime, end: datetime, now: datetime) -> dict[int, list[Period]]:
    """What is not known, or not yet, of VMs between `begin` and `end`, in its order; three queries.

    What may still become known lasts until now.
    """
    not_yet, settled = _not_yet(vm_ids, now)
    found = {
        vm_id: [(first, now if last > settled else last) for first, last in each] for vm_id, each in not_yet.items()
    }
    for row in Unread.objects.filter(vm_id__in=vm_ids, begin__lt=end, end__gt=begin):
        found.setdefault(row.vm_id, []).append((row.begin, row.end))
    return {vm_id: sorted(each) for vm_id, each in found.items()}


def _not_yet(vm_ids: Collection[int], now: datetime) -> tuple[dict[int, list[Period]], datetime]:
    """When each VM ran since it was read last, and until when all that was read has been taken in.

    Counters are read before, and told of after, what ended a VM.
    """
    oldest = Subquery(WaitingStatistics.objects.order_by("pk").values("at")[:1])
    columns = ("pk", "created_at", "status", "counters__at", "counters__closed")
    vms = list(Vm.objects.filter(pk__in=vm_ids).order_by().values_list(*columns, oldest))
    settled = min([now - SETTLES, *{waiting for *_, waiting in vms if waiting is not None}])
    since = {vm_id: read_at or created_at for vm_id, created_at, _status, read_at, *_ in vms}
    changes = _changes(since)
    found = {}
    for vm_id, _created_at, status, read_at, closed, _waiting in vms:
        # One that was imported as it ran, or that was moved here, began to run unseen.
        unseen = vm_id not in changes and status in ON
        was_on = unseen or (read_at is not None and not closed)
        ended, runs = ran(since[vm_id], was_on, changes.get(vm_id, ()))
        found[vm_id] = [*ended, *([(runs, now)] if runs is not None and runs < now else [])]
    return found, settled


def _changes(since: dict[int, datetime]) -> dict[int, list[Change]]:
    """When each VM began to run or ended, after its own time; one that was moved did both at once."""
    if not since:
        return {}
    told = Q(status__in=(*ON, *ENDED), repeated=False) | Q(status__in=ON, detail=MOVED)
    rows = StatusChange.objects.filter(told, vm__in=list(since), at__gt=min(since.values()))
    found: dict[int, list[Change]] = {}
    columns = ("vm_id", "at", "status", "detail")
    for vm_id, at, status, detail in rows.order_by("at", "epoch", "sequence", "id").values_list(*columns):
        if at > since[vm_id]:
            moved = [(at, False)] if status in ON and detail == MOVED else []
            found.setdefault(vm_id, []).extend([*moved, (at, status in ON)])
    return found
