"""The arithmetic of counters: what was added between two readings of a domain, device by device.

libvirt counts from a domain's start, and for a device that is attached later from then on. What it could not
read is None, and changes nothing: what was added meanwhile comes with the next reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from panel.monitoring.models.statistics import COUNTERS
from vmwatch import wire

DISK = ("read_bytes", "read_requests", "write_bytes", "write_requests")
INTERFACE = ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")
Counts = list[int | None]
"""The counters of one device, in the order of DISK or INTERFACE."""


@dataclass(frozen=True)
class Reading:
    """A domain's counters; those of its devices by the device's name. None is what was never read."""

    cpu_ns: int | None = None
    memory_kib: int | None = None
    rss_kib: int | None = None
    disks: dict[str, Counts] | None = None
    interfaces: dict[str, Counts] | None = None

    @classmethod
    def of(cls, told: wire.DomainStatistics) -> Reading:
        """What vmwatch told."""
        return cls(
            told.cpu_ns,
            told.memory_kib,
            told.rss_kib,
            _by_name(told.disks, DISK),
            _by_name(told.interfaces, INTERFACE),
        )

    def as_json(self) -> dict[str, Any]:
        """For Reading(**…)."""
        return asdict(self)


AT_START = Reading(cpu_ns=0, disks={}, interfaces={})
"""Of a domain that was just started: nothing is counted, and devices that appear begin at 0."""


def advance(before: Reading, now: Reading) -> tuple[dict[str, int], Reading]:
    """What was added to each of COUNTERS since `before`, and the reading that the next is compared with.

    Of a counter that was never read before, nobody knows since when it counts: nothing is added. One that is
    smaller than before began anew: another device has the name.
    """
    added = dict.fromkeys(COUNTERS, 0)
    added["cpu_ns"], cpu_ns = _difference(before.cpu_ns, now.cpu_ns)
    disks = _advance_devices(before.disks, now.disks, DISK, added)
    interfaces = _advance_devices(before.interfaces, now.interfaces, INTERFACE, added)
    memory_kib = now.memory_kib if now.memory_kib is not None else before.memory_kib
    rss_kib = now.rss_kib if now.rss_kib is not None else before.rss_kib
    return added, Reading(cpu_ns, memory_kib, rss_kib, disks, interfaces)


def is_known(devices: dict[str, Counts] | None, place: int) -> bool:
    """Whether there are devices, and of each the counter at this place of DISK or INTERFACE was read."""
    return bool(devices) and all(counts[place] is not None for counts in (devices or {}).values())


def _by_name(
    devices: Iterable[wire.DiskStatistics | wire.InterfaceStatistics] | None, names: tuple[str, ...]
) -> dict[str, Counts] | None:
    if devices is None:
        return None
    return {each.name: [getattr(each, name) for name in names] for each in devices}


def _advance_devices(
    before: dict[str, Counts] | None, now: dict[str, Counts] | None, names: tuple[str, ...], added: dict[str, int]
) -> dict[str, Counts] | None:
    if now is None or before is None:
        return before if now is None else now
    kept: dict[str, Counts] = {}
    for device, counts in now.items():
        pairs = [_difference(*pair) for pair in zip(before.get(device, [0] * len(names)), counts, strict=True)]
        kept[device] = [value for _, value in pairs]
        for name, (difference, _) in zip(names, pairs, strict=True):
            added[name] += difference
    return kept


def _difference(before: int | None, now: int | None) -> tuple[int, int | None]:
    """What was added, and what the next value is compared with."""
    if now is None:
        return 0, before
    if before is None:
        return 0, now
    return now - before if now >= before else now, now
