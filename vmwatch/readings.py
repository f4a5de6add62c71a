"""What each running domain had counted when it was last looked at: libvirt has forgotten that when it tells of its end.

Domains are looked at now and then, and whenever one stands still, which it does before most ends: as its guest has
powered off, as its memory is saved, as it was moved away. Nothing here asks QEMU.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List, Optional, Tuple

import libvirt

from vmwatch.outbox import Reading
from vmwatch.stats import from_libvirt

WHAT = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_INTERFACE
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
STILL = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_PMSUSPENDED)
LOOK_SECONDS = 1.0
KEPT_SECONDS = 300.0
"""So long a domain that is not found any more is remembered: the event of its end may be on its way."""


class Readings:
    """The last reading of each domain; used by the thread of libvirt's events and by the collector's."""

    def __init__(self) -> None:
        self._last: Dict[str, Reading] = {}
        self._lock = threading.Lock()
        self._looked: Dict[str, float] = {}
        """When each was looked at by itself; the thread of libvirt's events alone has it."""

    def look(self, conn: Any) -> None:
        """Read all domains that run, by one call; raises libvirt.libvirtError."""
        at = time.monotonic()
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | NOWAIT
        self._note(at, conn.getAllDomainStats(WHAT, flags))
        with self._lock:
            for uuid in [uuid for uuid, last in self._last.items() if last.at < at - KEPT_SECONDS]:
                del self._last[uuid]

    def look_at(self, conn: Any, domain: Any, *, ends: bool) -> None:
        """Read a domain that stands still, or does not any more; that it cannot be read is no error.

        One that is halted and goes on all the time is read once a second, unless it surely `ends`.
        """
        at, uuid = time.monotonic(), domain.UUIDString()
        if not ends and at - self._looked.get(uuid, -LOOK_SECONDS) < LOOK_SECONDS:
            self._goes_on(uuid)
            return
        self._looked[uuid] = at
        try:
            self._note(at, conn.domainListGetStats([domain], WHAT, NOWAIT))
        except libvirt.libvirtError:
            # Gone already: what was read before is the last.
            return

    def take(self, uuid: str) -> Optional[Reading]:
        """The last reading of a domain that has ended; the next is another run's."""
        self._looked.pop(uuid, None)
        with self._lock:
            return self._last.pop(uuid, None)

    def _goes_on(self, uuid: str) -> None:
        with self._lock:
            if uuid in self._last:
                self._last[uuid] = self._last[uuid]._replace(still=False)

    def _note(self, at: float, found: List[Tuple[Any, Dict[str, Any]]]) -> None:
        for domain, told in found:
            uuid, run = domain.UUIDString(), domain.ID()
            if run <= 0:
                continue
            reading = Reading(at, told.get("state.state") in STILL, from_libvirt(uuid, run, told))
            if any(each.tx_bytes is None for each in reading.counted.interfaces or ()):
                # Its interfaces are gone already: what was read before is the last.
                continue
            with self._lock:
                last = self._last.get(uuid)
                if last is None or last.at <= at:
                    self._last[uuid] = reading
