"""The counters of all domains of a host, by one call; collected in a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Callable, Dict, List

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
    disks = [
        wire.DiskStatistics(
            name=_name(found, f"block.{number}"),
            read_bytes=_count(found, f"block.{number}.rd.bytes"),
            read_requests=_count(found, f"block.{number}.rd.reqs"),
            write_bytes=_count(found, f"block.{number}.wr.bytes"),
            write_requests=_count(found, f"block.{number}.wr.reqs"),
        )
        for number in range(_count(found, "block.count"))
    ]
    interfaces = [
        wire.InterfaceStatistics(
            name=_name(found, f"net.{number}"),
            rx_bytes=_count(found, f"net.{number}.rx.bytes"),
            rx_packets=_count(found, f"net.{number}.rx.pkts"),
            tx_bytes=_count(found, f"net.{number}.tx.bytes"),
            tx_packets=_count(found, f"net.{number}.tx.pkts"),
        )
        for number in range(_count(found, "net.count"))
    ]
    return wire.DomainStatistics(
        uuid=uuid,
        run=run,
        cpu_ns=_count(found, "cpu.time"),
        memory_kib=_count(found, "balloon.current"),
        rss_kib=_count(found, "balloon.rss"),
        disks=disks,
        interfaces=interfaces,
    )


def _count(found: Dict[str, Any], name: str) -> int:
    # A counter that libvirt could not read is -1, or not there.
    return max(0, int(found.get(name, 0)))


def _name(found: Dict[str, Any], prefix: str) -> str:
    return str(found.get(f"{prefix}.name", ""))


class Collector:
    """A thread with a libvirt connection of its own, so that a slow collection delays no event."""

    def __init__(self, node_id: int, put: Callable[[List[wire.DomainStatistics]], None]) -> None:
        """`put` is called in the thread, with at most A_MESSAGE domains at a time."""
        self.interval = 600.0
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
            self._changed.wait(max(0.0, self._next - time.monotonic()))
            self._changed.clear()
            if time.monotonic() < self._next:
                continue
            self._next = time.monotonic() + self.interval
            try:
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
