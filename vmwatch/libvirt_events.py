"""libvirt's lifecycle events and full reports, as states of wire.py."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import libvirt

from vmwatch import wire
from vmwatch.kept import one_copy
from vmwatch.outbox import Reading
from vmwatch.readings import Readings

STATES: Dict[int, str] = {
    libvirt.VIR_DOMAIN_NOSTATE: wire.UNKNOWN,
    libvirt.VIR_DOMAIN_RUNNING: wire.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: wire.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: wire.PAUSED,
    # On its way off, but it still runs (or is paused: see Watcher).
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
# What an event says of the state by itself, where asking libvirt again would be too late: it may be another by then.
AFTER: Dict[int, str] = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: wire.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: wire.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: wire.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: wire.SHUT_OFF,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: wire.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: wire.CRASHED,
}
AFTER_OF_INACTIVE: Dict[int, str] = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: wire.SHUT_OFF,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: wire.MISSING,
}
REASONS: Dict[int, List[str]] = {
    # In the order of libvirt's enumerations virDomainEvent*DetailType, whose numbers count from 0.
    libvirt.VIR_DOMAIN_EVENT_DEFINED: ["added", "updated", "renamed", "from-snapshot"],
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: ["removed", "renamed"],
    libvirt.VIR_DOMAIN_EVENT_STARTED: ["booted", "migrated", "restored", "from-snapshot", "wakeup", "recovered"],
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: [
        "paused",
        "migrated",
        "io-error",
        "watchdog",
        "restored",
        "from-snapshot",
        "api-error",
        "postcopy",
        "postcopy-failed",
    ],
    libvirt.VIR_DOMAIN_EVENT_RESUMED: ["unpaused", "migrated", "from-snapshot", "postcopy", "postcopy-failed"],
    libvirt.VIR_DOMAIN_EVENT_STOPPED: [
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from-snapshot",
        "recreated",
    ],
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: ["finished", "guest", "host"],
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: ["memory", "disk"],
    libvirt.VIR_DOMAIN_EVENT_CRASHED: ["panicked", "crashloaded"],
}
STANDS_STILL = (
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
    # Not any more: what was read while it did is not the last.
    libvirt.VIR_DOMAIN_EVENT_RESUMED,
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED,
)
WATCHDOG_ACTIONS = ["none", "pause", "reset", "poweroff", "shutdown", "debug", "inject-nmi"]
BLOCK_JOB_STATUS = ["completed", "failed", "canceled", "ready"]
AGENT_STATES = {1: "connected", 2: "disconnected"}
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
NO_ID = -1
"""The id of a domain that was not active when its event was made."""
REPEAT_SECONDS = 1.0
REMEMBERED = 1000

OnEvent = Callable[[wire.DomainState, Optional[Reading]], None]
"""Given is besides what a domain that ended had counted, where that is known."""


def state_of(state: Optional[int], reason: Optional[int]) -> str:
    """libvirt's state and reason as ours."""
    if state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP:
        # QEMU is there and the guest is not yet; the event of its start follows, or that it failed.
        return wire.SHUT_OFF
    return STATES.get(state, wire.UNKNOWN) if state is not None else wire.UNKNOWN


def lifecycle_detail(event: int, reason: int) -> str:
    """libvirt's numbers of a lifecycle event and its reason as words: "stopped:destroyed"."""
    word = EVENTS.get(event, str(event))
    reasons = REASONS.get(event, [])
    return f"{word}:{reasons[reason]}" if 0 <= reason < len(reasons) else word


def disk_of_alias(xml: str, alias: str) -> str:
    """The target ("vda") of the disk with this alias ("virtio-disk0") in a domain's XML; else the alias."""
    # Not parsed: an XML parser would take a tenth of the memory that this process may have.
    for disk in re.findall("<disk .*?</disk>", xml, re.DOTALL):
        named, target = re.search(r"<alias name=['\"]([^'\"]*)", disk), re.search(r"<target dev=['\"]([^'\"]*)", disk)
        if named and target and named[1] == alias:
            return target[1]
    return alias


class Watcher:
    """A libvirt connection whose events go to a function, until `lost` is set."""

    def __init__(self, on_event: OnEvent, wake: Callable[[], None], readings: Readings) -> None:
        """Connect and watch; both functions are called in libvirt's thread. Raises libvirt.libvirtError.

        Domains that stand still are read there, too.
        """
        self.on_event = on_event
        self.readings = readings
        self.wake = wake
        self.lost = threading.Event()
        self._reported: Dict[Tuple[str, str], float] = {}
        self._paused: Set[str] = set()
        self.jobs: Dict[str, str] = {}
        """What was under way with domains when that was looked at last, by their UUIDs; put here by another thread."""
        self.over = threading.Event()
        """Something that was under way is not any more: a full report says so."""
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._loop, name="libvirt-events", daemon=True).start()
        self.conn = libvirt.openReadOnly(os.environ.get("VMPANEL_LIBVIRT_URI", "qemu:///system"))
        self.conn.registerCloseCallback(self._closed, None)
        # Drivers inside this process (the test driver) have no connection to keep alive.
        with contextlib.suppress(libvirt.libvirtError):
            self.conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        for event, function in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted),
            (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._io_error),
            (libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, self._watchdog),
            (libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, self._block_job),
            (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._job_completed),
            (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._iteration),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._agent),
        ):
            self.conn.domainEventRegisterAny(None, event, function, None)

    def full_report(self) -> List[wire.DomainState]:
        """All domains as they are now, by one call or two; raises libvirt.libvirtError."""
        found = [
            wire.DomainState(uuid, domain.name(), self._now(uuid, told.get("state.state"), told.get("state.reason")))
            for domain, told in self.conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
            for uuid in (domain.UUIDString(),)
        ]
        self._paused.intersection_update({each.uuid for each in found})
        saved = self._saved() if any(each.state == wire.SHUT_OFF for each in found) else set()
        jobs = self.jobs
        return [
            replace(each, state=wire.SAVED)
            if each.state == wire.SHUT_OFF and each.uuid in saved
            else replace(each, job=jobs[each.uuid])
            if each.uuid in jobs and each.state in (wire.RUNNING, wire.PAUSED)
            else each
            for each in found
        ]

    def _saved(self) -> Set[str]:
        """The domains of which libvirt keeps the memory, by one call: of its removal libvirt tells nobody."""
        flag = libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE
        return {domain.UUIDString() for domain in self.conn.listAllDomains(flag)}

    def _now(self, uuid: str, state: Optional[int], reason: Optional[int]) -> str:
        """libvirt's state and reason of a domain as ours; one that is on its way off still is what it was."""
        if state == libvirt.VIR_DOMAIN_SHUTDOWN and uuid in self._paused:
            return wire.PAUSED
        return self._noted(uuid, state_of(state, reason))

    def _noted(self, uuid: str, state: str) -> str:
        (self._paused.add if state == wire.PAUSED else self._paused.discard)(uuid)
        return state

    def _loop(self) -> None:
        while not self.lost.is_set():
            libvirt.virEventRunDefaultImpl()

    def _closed(self, _conn: Any, _reason: int, _opaque: Any) -> None:
        self.lost.set()
        self.wake()

    def _lifecycle(self, _conn: Any, domain: Any, event: int, reason: int, _opaque: Any) -> None:
        if event in STANDS_STILL:
            self.readings.look_at(self.conn, domain, ends=event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN)
        if event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN:
            # It is on its way off, whatever it was: a paused domain would seem to run. That it is off follows.
            return
        last = self.readings.take(domain.UUIDString()) if event == libvirt.VIR_DOMAIN_EVENT_STOPPED else None
        self._tell(domain, self._state_after(domain, event, reason), lifecycle_detail(event, reason), last)
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED and self._look(domain) == wire.MISSING:
            # Of a transient domain no event says so; of one that was undefined since, its own says it once more.
            self._tell(domain, wire.MISSING, "")

    def _state_after(self, domain: Any, event: int, reason: int) -> str:
        """The state that the event brought about; libvirt is asked, perhaps too late, only where it does not say."""
        if (event, reason) == (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED):
            # It still runs where it comes from; that it has arrived is an event of its own (resumed:migrated).
            return wire.PAUSED
        if (event, reason) == (libvirt.VIR_DOMAIN_EVENT_UNDEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED_RENAMED):
            return self._look(domain)
        state = AFTER.get(event) or (AFTER_OF_INACTIVE.get(event) if domain.ID() == NO_ID else None)
        return _off(domain) if state == wire.SHUT_OFF else state or self._look(domain)

    def _rebooted(self, _conn: Any, domain: Any, _opaque: Any) -> None:
        self._report(domain, "rebooted")

    def _io_error(
        self, _conn: Any, domain: Any, _path: str, alias: str, _action: int, _reason: str, _opaque: Any
    ) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            alias = disk_of_alias(domain.XMLDesc(), alias)
        self._report(domain, f"io-error:{alias}")

    def _watchdog(self, _conn: Any, domain: Any, action: int, _opaque: Any) -> None:
        self._report(domain, f"watchdog:{_nth(WATCHDOG_ACTIONS, action)}")

    def _block_job(self, _conn: Any, domain: Any, disk: str, _kind: int, status: int, _opaque: Any) -> None:
        self._report(domain, f"block-job:{disk}:{_nth(BLOCK_JOB_STATUS, status)}")
        if status != libvirt.VIR_DOMAIN_BLOCK_JOB_READY:
            self._forget_job(domain)

    def _job_completed(self, _conn: Any, domain: Any, _stats: Any, _opaque: Any) -> None:
        self._forget_job(domain)

    def _forget_job(self, domain: Any) -> None:
        uuid = domain.UUIDString()
        if uuid in self.jobs:
            self.jobs = {other: job for other, job in self.jobs.items() if other != uuid}
            self.over.set()
            self.wake()

    def _iteration(self, _conn: Any, domain: Any, iteration: int, _opaque: Any) -> None:
        self._report(domain, f"migration:{iteration}")

    def _agent(self, _conn: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        self._report(domain, f"agent:{AGENT_STATES.get(state, str(state))}")

    def _report(self, domain: Any, detail: str) -> None:
        """Tell what is no change of state: of a domain the same at most once in REPEAT_SECONDS.

        Some of it a guest can bring about as often as it likes: failing reads, an agent that comes and goes.
        """
        now, what = time.monotonic(), (domain.UUIDString(), detail)
        if now - self._reported.get(what, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        if len(self._reported) >= REMEMBERED:
            self._reported.clear()
        self._reported[what] = now
        self._tell(domain, self._look(domain), detail)

    def _look(self, domain: Any) -> str:
        """The domain's state as libvirt has it now; MISSING when it has it no more."""
        try:
            state = self._now(domain.UUIDString(), *domain.state())
            return _off(domain) if state == wire.SHUT_OFF else state
        except libvirt.libvirtError as error:
            return wire.MISSING if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else wire.UNKNOWN

    def _tell(self, domain: Any, state: str, detail: str, last: Optional[Reading] = None) -> None:
        uuid = domain.UUIDString()
        self.on_event(one_copy(wire.DomainState(uuid, domain.name(), self._noted(uuid, state), detail)), last)


def _off(domain: Any) -> str:
    """SAVED for a domain that is off and of which libvirt keeps the memory, else SHUT_OFF."""
    try:
        return wire.SAVED if domain.hasManagedSaveImage() else wire.SHUT_OFF
    except libvirt.libvirtError as error:
        # One that is gone keeps nothing.
        return wire.SHUT_OFF if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else wire.UNKNOWN


def _nth(words: List[str], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)
