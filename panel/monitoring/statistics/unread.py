"""When a VM ran and its counters were not read: traffic is told as not known of these stretches of time.

Counters are collected each ten minutes, and libvirt forgets them when a domain ends. What was sent between the last
collection and the end is known to nobody; between the last collection and now it will be known at the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.utils import timezone

from panel.monitoring.models import Unread, VmCounters
from panel.vms.models import ON, StatusChange, Vm, VmStatus

Period = tuple[datetime, datetime]
Change = tuple[datetime, bool]
"""When a VM began to run (True) or ended."""
ENDED = (VmStatus.SHUT_OFF, VmStatus.CRASHED, VmStatus.MISSING, VmStatus.SAVED)
"""A node's silence is neither."""


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
    now = timezone.now()
    Unread.objects.bulk_create(
        Unread(vm_id=vm_id, begin=begin, end=end) for begin, end in _not_yet([vm_id], now).get(vm_id, ()) if begin < end
    )


def unread(vm_ids: Collection[int], begin: datetime, end: datetime, now: datetime) -> dict[int, list[Period]]:
    """What is not known, or not yet, of VMs between `begin` and `end`, in its order; four queries."""
    found = _not_yet(vm_ids, now)
    for row in Unread.objects.filter(vm_id__in=vm_ids, begin__lt=end, end__gt=begin):
        found.setdefault(row.vm_id, []).append((row.begin, row.end))
    return {vm_id: sorted(each) for vm_id, each in found.items()}


def _not_yet(vm_ids: Collection[int], now: datetime) -> dict[int, list[Period]]:
    counters = VmCounters.objects.in_bulk(list(vm_ids))
    vms = list(Vm.objects.filter(pk__in=vm_ids).only("created_at", "status"))
    since = {vm.pk: counters[vm.pk].at if vm.pk in counters else vm.created_at for vm in vms}
    changes = _changes(since)
    found = {}
    for vm in vms:
        if vm.pk in counters:
            was_on = not counters[vm.pk].closed
        else:
            # One that was taken over as it ran.
            was_on = vm.pk not in changes and vm.status in ON
        ended, runs = ran(since[vm.pk], was_on, changes.get(vm.pk, ()))
        found[vm.pk] = [*ended, *([(runs, now)] if runs is not None and runs < now else [])]
    return found


def _changes(since: dict[int, datetime]) -> dict[int, list[Change]]:
    """When each VM began to run or ended, after its own time."""
    if not since:
        return {}
    rows = StatusChange.objects.filter(
        vm__in=list(since), at__gt=min(since.values()), status__in=(*ON, *ENDED), repeated=False
    )
    found: dict[int, list[Change]] = {}
    for vm_id, at, status in rows.order_by("at", "epoch", "sequence", "id").values_list("vm_id", "at", "status"):
        if at > since[vm_id]:
            found.setdefault(vm_id, []).append((at, status in ON))
    return found
