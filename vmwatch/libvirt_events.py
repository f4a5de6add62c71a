"""libvirt's lifecycle events and full pictures, as states of wire.py."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Callable, Dict, List

import libvirt

from vmwatch import wire

STATES: Dict[int, str] = {
    libvirt.VIR_DOMAIN_NOSTATE: wire.UNKNOWN,
    libvirt.VIR_DOMAIN_RUNNING: wire.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: wire.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: wire.PAUSED,
    # On its way off, but it still runs.
    libvirt.VIR_DOMAIN_SHUTDOWN: wire.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: wire.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: wire.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: wire.PAUSED,
}
EVENTS: Dict[int, str] = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "pmsuspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
# What an event says of the state by itself, where asking libvirt again would be too late: a domain that
# was undefined, or a transient one that stopped, is not there any more.
AFTER: Dict[int, str] = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: wire.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: wire.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: wire.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: wire.SHUT_OFF,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: wire.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: wire.CRASHED,
}
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3

OnEvent = Callable[[wire.DomainState], None]


class Watcher:
    """A libvirt connection whose events go to a function, until `lost` is set."""

    def __init__(self, on_event: OnEvent, on_lost: Callable[[], None]) -> None:
        """Connect and watch; both functions are called in libvirt's thread. Raises libvirt.libvirtError."""
        self.on_event = on_event
        self.on_lost = on_lost
        self.lost = threading.Event()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._loop, name="libvirt-events", daemon=True).start()
        self.conn = libvirt.openReadOnly(os.environ.get("VMPANEL_LIBVIRT_URI", "qemu:///system"))
        self.conn.registerCloseCallback(self._closed, None)
        # Drivers inside this process (the test driver) have no connection to keep alive.
        with contextlib.suppress(libvirt.libvirtError):
            self.conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        self.conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        self.conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted, None)

    def picture(self) -> List[wire.DomainState]:
        """All domains as they are now; raises libvirt.libvirtError."""
        return [
            wire.DomainState(domain.UUIDString(), domain.name(), STATES.get(domain.state()[0], wire.UNKNOWN))
            for domain in self.conn.listAllDomains()
        ]

    def _loop(self) -> None:
        while not self.lost.is_set():
            libvirt.virEventRunDefaultImpl()

    def _closed(self, _conn: Any, _reason: int, _opaque: Any) -> None:
        self.lost.set()
        self.on_lost()

    def _lifecycle(self, _conn: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        state = AFTER.get(event)
        if state is None or event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            state = self._look(domain, state)
        self._tell(domain, state, EVENTS.get(event, str(event)))

    def _rebooted(self, _conn: Any, domain: Any, _opaque: Any) -> None:
        self._tell(domain, self._look(domain, None), "rebooted")

    def _look(self, domain: Any, otherwise: Any) -> str:
        """The domain's state as libvirt has it now; MISSING when it has it no more."""
        try:
            seen = STATES.get(domain.state()[0], wire.UNKNOWN)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return wire.MISSING
            return otherwise or wire.UNKNOWN
        # A domain that stopped and runs again by now will say so with an event of its own.
        return otherwise or seen

    def _tell(self, domain: Any, state: str, detail: str) -> None:
        self.on_event(wire.DomainState(domain.UUIDString(), domain.name(), state, detail))
