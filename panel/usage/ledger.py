"""Adding to the ledger, and closing the time that was told of. Both by the database's own clock.

A writer reads the mark of what is closed under a shared lock, which it holds until its transaction ends;
who closes a period changes that mark, so waits for all who write, and reads afterwards. So a period that
was told once is told the same for ever: not even a clock that was set back brings an entry into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from panel.accounts.models import User
from panel.core import request_id
from panel.core.transactions import again_if_lost
from panel.usage.models import Closed, Entry

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shape:
    """What is noted of a VM: all that an entry has but its date."""

    vm_id: int
    uuid: UUID
    name: str
    owner_id: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    addresses: int
    suspended: bool
    exists: bool = True


FIELDS = tuple(Shape.__dataclass_fields__)


def shape_of(entry: Entry) -> Shape:
    """What an entry says."""
    return Shape(**{name: getattr(entry, name) for name in FIELDS})


def append(shape: Shape, order: str = "") -> Entry:
    """The ledger says this of the VM from now on; nothing is added where it does already.

    The owner's name is kept with it, for whoever asks when there is no such owner any more.

    In the transaction that changes what is told of, as late in it as can be, and with the VM's row
    held, so that nobody else adds an entry of it.
    """
    assert connection.in_atomic_block, "An entry belongs to the change that it tells of."
    last = last_entry(shape.vm_id)
    if last is not None and shape_of(last) == shape:
        return last
    clock = _clock_while_held()
    at = max(clock.now, clock.closed, last.at if last else clock.now)
    number = last.sequence + 1 if last else 1
    fields: dict[str, Any] = {name: getattr(shape, name) for name in FIELDS}
    fields["owner_name"] = User.objects.filter(pk=shape.owner_id).values_list("name", flat=True).first() or ""
    return Entry.objects.create(sequence=number, at=at, order=order, request_id=request_id.current(), **fields)


def end(vm_id: int, order: str = "") -> None:
    """The VM is no more from now on; a VM of which the ledger knows nothing is none.

    `order` says that there never was one, since what was to make it failed or was cancelled.
    """
    last = last_entry(vm_id)
    if last is not None:
        append(Shape(**{**{name: getattr(last, name) for name in FIELDS}, "exists": False}), order)


def last_entry(vm_id: int) -> Entry | None:
    """What the ledger says of the VM now."""
    return Entry.objects.filter(vm_id=vm_id).order_by("-sequence").first()


def last_shapes(vm_ids: Sequence[int]) -> dict[int, Shape]:
    """What the ledger says of VMs now, by their ids; one query."""
    later = Entry.objects.filter(vm_id=OuterRef("vm_id"), sequence=OuterRef("sequence") + 1)
    return {entry.vm_id: shape_of(entry) for entry in Entry.objects.filter(~Exists(later), vm_id__in=vm_ids)}


def without_end(existing: QuerySet[Any, Any]) -> list[int]:
    """The VMs that the ledger says are there and that are not among the `existing` ids; one query."""
    later = Entry.objects.filter(vm_id=OuterRef("vm_id"), sequence=OuterRef("sequence") + 1)
    left = Entry.objects.filter(~Exists(later), exists=True).exclude(vm_id__in=existing)
    return list(left.values_list("vm_id", flat=True))


@dataclass(frozen=True)
class Clock:
    """The database's clock in whole seconds, and until when is closed."""

    now: datetime
    closed: datetime


def read_clock() -> Clock:
    """Both as they are now; one query."""
    table = connection.ops.quote_name(Closed._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT UTC_TIMESTAMP(), (SELECT until FROM {table} WHERE id = 1)")
        now, closed = cursor.fetchone()
    return Clock(now.replace(tzinfo=UTC), closed.replace(tzinfo=UTC) if closed else LONG_AGO)


def close(until: datetime, clock: Clock) -> datetime:
    """No entry will be dated before `until`, or before now if that is earlier; answers which of both it is.

    `clock` was read just before. Outside of a transaction: writers wait until it ends.
    """
    until = min(until, max(clock.now, clock.closed))
    if until <= clock.closed:
        return until
    again_if_lost(lambda: _close(until))
    return until


def _close(until: datetime) -> None:
    if not Closed.objects.filter(pk=1, until__lt=until).update(until=until):
        # Somebody closed more meanwhile, or the mark was never made.
        _ensure_mark()
        Closed.objects.filter(pk=1, until__lt=until).update(until=until)


def _clock_while_held() -> Clock:
    """Both, and nobody closes anything until this transaction ends."""
    _ensure_mark()
    table = connection.ops.quote_name(Closed._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT until FROM {table} WHERE id = 1 LOCK IN SHARE MODE")
        (closed,) = cursor.fetchone()
        cursor.execute("SELECT UTC_TIMESTAMP()")
        (now,) = cursor.fetchone()
    return Clock(now.replace(tzinfo=UTC), closed.replace(tzinfo=UTC))


def _ensure_mark() -> None:
    """There is a row to hold; the migration made one."""
    if not Closed.objects.filter(pk=1).exists():
        Closed.objects.bulk_create([Closed(pk=1, until=LONG_AGO)], ignore_conflicts=True)
