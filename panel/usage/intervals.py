"""From entries to usage: stretches of time that cover a period without gap or overlap, and their sums.

Nothing here reads the database: the same entries give the same answer at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True)
class Size:
    """What is paid for of a VM."""

    owner_id: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    addresses: int
    suspended: bool


class Dated(Protocol):
    """An entry of the ledger."""

    at: datetime
    owner_id: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    addresses: int
    suspended: bool
    exists: bool


@dataclass(frozen=True)
class Stretch:
    """From `begin` until `end`, which is not in it, the VM was of this size; None: it was not there."""

    begin: datetime
    end: datetime
    size: Size | None

    @property
    def seconds(self) -> int:
        """Its length."""
        return (self.end - self.begin) // timedelta(seconds=1)


@dataclass(frozen=True)
class Sums:
    """Sizes times the seconds that they lasted; whole numbers, so that sums of parts are exact."""

    seconds: int = 0
    vcpu_seconds: int = 0
    memory_mib_seconds: int = 0
    disk_gib_seconds: int = 0
    address_seconds: int = 0

    def plus(self, size: Size, seconds: int) -> Sums:
        """With so many seconds of a size more."""
        return Sums(
            self.seconds + seconds,
            self.vcpu_seconds + size.vcpus * seconds,
            self.memory_mib_seconds + size.memory_mib * seconds,
            self.disk_gib_seconds + size.disk_gib * seconds,
            self.address_seconds + size.addresses * seconds,
        )


def size_of(entry: Dated) -> Size | None:
    """The size from an entry on; None: the VM is no more."""
    if not entry.exists:
        return None
    return Size(entry.owner_id, entry.vcpus, entry.memory_mib, entry.disk_gib, entry.addresses, entry.suspended)


def stretches(entries: Iterable[Dated], begin: datetime, end: datetime) -> list[Stretch]:
    """The period from `begin` until `end` (whole seconds) by the VM's entries, which are in their order.

    The last entry before the period counts with it; without one the VM was not there yet. Neighbours
    differ in size, and together they are the period.
    """
    found: list[Stretch] = []
    since, size = begin, None
    for entry in entries:
        if entry.at >= end:
            break
        if entry.at > since:
            _add(found, Stretch(since, entry.at, size))
            since = entry.at
        size = size_of(entry)
    if since < end:
        _add(found, Stretch(since, end, size))
    return found


def owned_by(parts: Iterable[Stretch], owner_id: int) -> list[Stretch]:
    """The same period as one owner's: what was another's is as if it had not been there."""
    found: list[Stretch] = []
    for part in parts:
        theirs = part.size is not None and part.size.owner_id == owner_id
        _add(found, part if theirs else replace(part, size=None))
    return found


def seconds_by_size(parts: Iterable[Stretch]) -> dict[Size, int]:
    """How long the VM was of each size, in the order in which it first was."""
    found: dict[Size, int] = {}
    for part in parts:
        if part.size is not None:
            found[part.size] = found.get(part.size, 0) + part.seconds
    return found


def sums(parts: Iterable[Stretch], *, suspended: bool) -> Sums:
    """What is added up over the time in which the VM was suspended, or was not."""
    total = Sums()
    for size, seconds in seconds_by_size(parts).items():
        if size.suspended == suspended:
            total = total.plus(size, seconds)
    return total


def there(parts: Sequence[Stretch]) -> list[tuple[datetime, datetime]]:
    """When the VM was there, of whatever size: stretches that do not touch."""
    found: list[tuple[datetime, datetime]] = []
    for part in parts:
        if part.size is None:
            continue
        if found and found[-1][1] == part.begin:
            found[-1] = (found[-1][0], part.end)
        else:
            found.append((part.begin, part.end))
    return found


def _add(found: list[Stretch], part: Stretch) -> None:
    if found and found[-1].size == part.size:
        found[-1] = replace(found[-1], end=part.end)
    else:
        found.append(part)
