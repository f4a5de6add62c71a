"""Usage of VMs in a period, as billing asks for it: hours by size from the ledger, traffic from the statistics.

Deleted VMs are told of like any other. A user is told of the time in which a VM was theirs, and of no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from panel.accounts.models import User
from panel.core.errors import InvalidValue, NotFound
from panel.core.wording import Text
from panel.monitoring.statistics.periods import Traffic, month_of, next_month, traffic_of
from panel.monitoring.statistics.unread import Period
from panel.usage import ledger
from panel.usage.intervals import Stretch, owned_by, stretches, there
from panel.usage.models import Entry

LONGEST = timedelta(days=400)
MOST_ENTRIES = 20_000
"""Entries that one answer is made of; a VM has a few a year."""


@dataclass(frozen=True)
class VmUsage:
    """What a VM was from `begin` until `end`: stretches that together are the whole period."""

    vm_id: int
    uuid: str
    name: str
    begin: datetime
    end: datetime
    stretches: list[Stretch]
    traffic: Traffic
    owners: Mapping[int, str]
    """What those were called whose it was, by their ids; also of who is no more."""
    order: str = ""
    """How the order ended, in the period, of which no VM came."""


def closed_period(begin: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The period that is told of: from the begin of the month until now where nothing is said, never beyond now.

    From now on nothing can change in it. Raises InvalidValue naming the field.
    """
    for field, at in (("from", begin), ("to", end)):
        if at is not None and at.microsecond:
            raise InvalidValue(Text("“{field}” must be a whole second.", {"field": field}), field=field)
    clock = ledger.read_clock()
    now = max(clock.now, clock.closed)
    if begin is None:
        begin = (end or now).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0)
    if begin >= (end or now):
        raise InvalidValue("“from” must be before “to” and not in the future.", field="from")
    if (end or now) - begin > LONGEST:
        raise InvalidValue(Text("A period has at most {days} days.", {"days": LONGEST.days}), field="from")
    if begin >= now:
        raise InvalidValue("“from” must not be in the future.", field="from")
    until = ledger.close(end or now, clock)
    return begin.astimezone(UTC), until.astimezone(UTC)


def vm_usage(viewer: User, vm_id: int, begin: datetime, end: datetime) -> VmUsage:
    """What one VM was in a period that is closed; raises NotFound for one that was never the viewer's."""
    entries = Entry.objects.filter(vm_id=vm_id)
    last = (entries if viewer.sees_all else entries.filter(owner=viewer)).order_by("-sequence").first()
    if last is None:
        raise NotFound(object="vm", id=vm_id)
    for found in usage_of([vm_id], begin, end, None if viewer.sees_all else viewer.pk):
        return found
    # It was made after the period.
    return VmUsage(vm_id, str(last.uuid), last.name, begin, end, stretches([], begin, end), Traffic(), {})


def metered_vms(owner: int | None, begin: datetime, end: datetime) -> QuerySet[Entry]:
    """The first entry of each VM that may have been there in the period, of one owner or of all."""
    gone = Entry.objects.filter(vm_id=OuterRef("vm_id"), exists=False, at__lte=begin)
    found = Entry.objects.filter(~Exists(gone), sequence=1, at__lt=end)
    if owner is None:
        return found
    theirs = Entry.objects.filter(owner=owner, at__lt=end)
    return found.filter(vm_id__in=theirs.order_by().values("vm_id").distinct())


def owner_id(viewer: User, name: str | None, number: int | None) -> int | None:
    """Whose time alone is told of, by name or id; None: everybody's. Raises NotFound, or InvalidValue for two.

    Who is no more is found by what they were called when usage was noted.
    """
    if not viewer.sees_all:
        return viewer.pk
    if name is not None and number is not None:
        raise InvalidValue("Give the owner's name or id, not both.", field="owner_id")
    if number is not None:
        if not (User.objects.filter(pk=number).exists() or Entry.objects.filter(owner=number).exists()):
            raise NotFound(object="user", id=number, field="owner_id")
        return number
    return None if name is None else _named(name)


def _named(name: str) -> int:
    if found := User.objects.filter(name=name).values_list("pk", flat=True).first():
        return found
    former = sorted(set(Entry.objects.filter(owner_name=name).order_by().values_list("owner_id", flat=True).distinct()))
    if not former:
        raise NotFound(object="user", id=name, field="owner")
    if len(former) > 1:
        text = Text("Several accounts were called “{name}”: ask by owner_id.", {"name": name})
        raise InvalidValue(text, field="owner", allowed=former)
    return former[0]


def usage_of(vm_ids: Iterable[int], begin: datetime, end: datetime, owner: int | None) -> list[VmUsage]:
    """The usage of VMs in a period that is closed, in their order; a constant number of queries."""
    ids = list(vm_ids)
    entries: dict[int, list[Any]] = {vm_id: [] for vm_id in ids}
    for entry in _entries(ids, begin, end):
        entries[entry.vm_id].append(entry)
    parts = {vm_id: stretches(rows, begin, end) for vm_id, rows in entries.items()}
    gone = {vm_id for vm_id, rows in entries.items() if rows and rows[-1].gone}
    traffic = traffic_of({vm_id: _counted(each, owner) for vm_id, each in parts.items()}, gone, end)
    if owner is not None:
        parts = {vm_id: owned_by(each, owner) for vm_id, each in parts.items()}
    return [
        VmUsage(
            vm_id,
            str(rows[-1].uuid),
            _name(rows, owner),
            begin,
            end,
            parts[vm_id],
            traffic[vm_id],
            # As they were called last in the period, whatever became of them since.
            {each.owner_id: each.owner_name for each in rows},
            rows[-1].order,
        )
        for vm_id, rows in entries.items()
        if rows
    ]


def _name(entries: list[Entry], owner: int | None) -> str:
    """The last name that the VM had, or had while it was the owner's."""
    return next((each.name for each in reversed(entries) if owner in (None, each.owner_id)), "")


def _counted(parts: list[Stretch], owner: int | None) -> list[Period]:
    """Of when the traffic is told.

    While a VM was not there it had none: so whole months are asked for where it was made or deleted in the
    period, since the rows of less than a month go with the VM and those of months stay.
    """
    if owner is not None and any(part.size is not None and part.size.owner_id != owner for part in parts):
        return there(owned_by(parts, owner))
    if not parts or all(part.size is None for part in parts):
        return []
    begin, end = parts[0].begin, parts[-1].end
    return [
        (
            month_of(begin) if parts[0].size is None else begin,
            next_month(month_of(end)) if parts[-1].size is None and end != month_of(end) else end,
        )
    ]


def _entries(vm_ids: list[int], begin: datetime, end: datetime) -> list[Any]:
    """Those of the period, and of each VM the last one before it; `gone`: the VM is no more by now."""
    later = Entry.objects.filter(vm_id=OuterRef("vm_id"), sequence=OuterRef("sequence") + 1, at__lte=begin)
    ended = Entry.objects.filter(vm_id=OuterRef("vm_id"), exists=False)
    wanted = Entry.objects.filter(Q(at__gt=begin) | ~Exists(later), vm_id__in=vm_ids, at__lt=end)
    found = list(wanted.annotate(gone=Exists(ended)).order_by("vm_id", "sequence")[: MOST_ENTRIES + 1])
    if len(found) > MOST_ENTRIES:
        raise InvalidValue("That is too much for one answer; ask for a shorter period or fewer VMs.", field="from")
    return found
