"""The counters of all domains of a host, by one call; collected in a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple, Type, TypeVar

import libvirt

from vmwatch import wire

FIRST_SECONDS = 30.0
SPREAD_SECONDS = 60
"""Nodes begin in different seconds of a minute, by their id, so that they do not all speak at once."""
A_MESSAGE = 500
WHAT = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
log = logging.getLogger("vmwatch-node")
D = TypeVar("D", wire.DiskStatistics, wire.InterfaceStatistics)


def collect(conn: Any) -> List[wire.DomainStatistics]:
    """The counters of the host's active domains; raises libvirt.libvirtError.

    NOWAIT: of a domain that is busy (a migration) libvirt leaves out what it would have to wait for.
    """
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    return [
        from_libvirt(domain.UUIDString(), domain.ID(), found)
        for domain, found in conn.getAllDomainStats(WHAT, flags)
        # One that stopped meanwhile has no number.
        if domain.ID() > 0
    ]


def from_libvirt(uuid: str, run: int, found: Dict[str, Any]) -> wire.DomainStatistics:
    """One domain's record of virConnectGetAllDomainStats, whose names libvirt's documentation lists."""
    return wire.DomainStatistics(
        uuid=uuid,
        run=run,
        cpu_ns=_count(found, "cpu.time"),
        memory_kib=_count(found, "balloon.current"),
        rss_kib=_count(found, "balloon.rss"),
        disks=_devices(found, "block", wire.DiskStatistics, ("rd.bytes", "rd.reqs", "wr.bytes", "wr.reqs")),
        interfaces=_devices(found, "net", wire.InterfaceStatistics, ("rx.bytes", "rx.pkts", "tx.bytes", "tx.pkts")),
    )


def _devices(found: Dict[str, Any], group: str, kind: Type[D], counters: Tuple[str, ...]) -> Optional[List[D]]:
    """The devices of a group, with the counters in the order of `kind`; None when libvirt left the group out."""
    count = _count(found, f"{group}.count")
    if count is None:
        return None
    prefixes = [f"{group}.{number}" for number in range(count)]
    return [
        kind(str(found.get(f"{each}.name", "")), *(_count(found, f"{each}.{name}") for name in counters))
        for each in prefixes
    ]


def _count(found: Dict[str, Any], name: str) -> Optional[int]:
    """A counter; None when libvirt could not read it: then it is left out, or -1."""
    value = int(found.get(name, -1))
    return value if value >= 0 else None


class Collector:
    """A thread with a libvirt connection of its own, so that a slow collection delays no event."""

    def __init__(
        self,
        node_id: int,
        put: Callable[[List[wire.DomainStatistics]], None],
        look: Callable[[], None],
        look_seconds: float,
    ) -> None:
        """`put` is called in the thread, with at most A_MESSAGE domains at a time.

        So is `look`, each `look_seconds`; it may raise libvirt.libvirtError.
        """
        self.interval = 600.0
        self.look_seconds = look_seconds
        self._look = look
        self._next_look = time.monotonic()
        self._put = put
        self._next = time.monotonic() + FIRST_SECONDS + node_id % SPREAD_SECONDS
        self._changed = threading.Event()

    def start(self, interval: float) -> None:
        """Collect every `interval` seconds from now on."""
        self.interval = interval
        self._next = min(self._next, time.monotonic() + interval)
        threading.Thread(target=self._run, name="statistics", daemon=True).start()

    def change(self, interval: float) -> None:
        """Collect in this interval from now on."""
        self.interval = interval
        self._next = min(self._next, time.monotonic() + interval)
        self._changed.set()

    def soon(self) -> None:
        """Collect now: the last ones could not be sent."""
        self._next = time.monotonic()
        self._changed.set()

    def _run(self) -> None:
        while True:
            self._changed.wait(max(0.0, min(self._next, self._next_look) - time.monotonic()))
            self._changed.clear()
            now = time.monotonic()
            try:
                if now >= self._next_look:
                    self._next_look = now + self.look_seconds
                    self._look()
                if now >= self._next:
                    self._next = now + self.interval
                    self._collect()
            except libvirt.libvirtError as error:
                # The daemon itself ends when libvirt is lost; this may be something that passes.
                log.warning("no statistics this time: %s", error)

    def _collect(self) -> None:
        conn = libvirt.openReadOnly(os.environ.get("VMPANEL_LIBVIRT_URI", "qemu:///system"))
        try:
            found = collect(conn)
        finally:
            conn.close()
        for start in range(0, len(found), A_MESSAGE):
            self._put(found[start : start + A_MESSAGE])
