"""libvirt's numbers as words."""

from __future__ import annotations

import libvirt
import pytest

from vmwatch import libvirt_events, wire
from vmwatch.readings import Readings

EVENTS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "DEFINED",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "UNDEFINED",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "STARTED",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "SUSPENDED",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "RESUMED",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "STOPPED",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "SHUTDOWN",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "PMSUSPENDED",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "CRASHED",
}
XML = """<domain><devices>
<disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
<disk type="file"><alias name="virtio-disk1"/><target dev="vdb"/></disk>
<interface><target dev='vnet0'/><alias name='net0'/></interface></devices></domain>"""


def names(prefix: str) -> dict[int, str]:
    """The members of one of libvirt's enumerations, as this libvirt has them, in our spelling."""
    found = {getattr(libvirt, name): name[len(prefix) :] for name in dir(libvirt) if name.startswith(prefix)}
    return {number: name.lower().replace("_", "-").replace("ioerror", "io-error") for number, name in found.items()}


@pytest.mark.parametrize("event", EVENTS)
def test_every_reason_that_libvirt_knows_has_its_word(event: int) -> None:
    reasons = names(f"VIR_DOMAIN_EVENT_{EVENTS[event]}_")
    assert reasons
    for number, reason in reasons.items():
        assert libvirt_events.lifecycle_detail(event, number) == f"{EVENTS[event].lower()}:{reason}"


def test_a_reason_of_a_later_libvirt_is_left_out() -> None:
    assert libvirt_events.lifecycle_detail(libvirt.VIR_DOMAIN_EVENT_STOPPED, 99) == "stopped"
    assert libvirt_events.lifecycle_detail(99, 0) == "99"


def test_every_watchdog_action_and_end_of_a_block_job_has_its_word() -> None:
    actions = names("VIR_DOMAIN_EVENT_WATCHDOG_")
    assert [actions[n].replace("injectnmi", "inject-nmi") for n in sorted(actions)] == libvirt_events.WATCHDOG_ACTIONS
    for number, word in enumerate(libvirt_events.BLOCK_JOB_STATUS):
        assert getattr(libvirt, f"VIR_DOMAIN_BLOCK_JOB_{word.upper()}") == number


def test_a_disk_is_found_by_its_alias() -> None:
    assert libvirt_events.disk_of_alias(XML, "virtio-disk0") == "vda"
    assert libvirt_events.disk_of_alias(XML, "virtio-disk1") == "vdb"
    for unknown in ("virtio-disk9", "net0", ""):
        assert libvirt_events.disk_of_alias(XML, unknown) == unknown


def test_a_domain_that_is_being_started_does_not_run_yet() -> None:
    assert libvirt_events.state_of(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP) == wire.SHUT_OFF
    assert libvirt_events.state_of(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER) == wire.PAUSED
    assert libvirt_events.state_of(None, None) == wire.UNKNOWN


class Domain:
    """A domain as an event has it, with the id that it had then, and as it is when libvirt is asked."""

    def __init__(self, number: int, now: int | None, *, saved: bool = False) -> None:
        self.number, self.now, self.saved = number, now, saved

    def ID(self) -> int:
        return self.number

    def UUIDString(self) -> str:
        return "6695eb01-f6a4-8304-79aa-97f2502e193f"

    def name(self) -> str:
        return "web1"

    def state(self) -> list[int]:
        return [self._asked(), 0]

    def hasManagedSaveImage(self) -> int:
        self._asked()
        return int(self.saved)

    def _asked(self) -> int:
        if self.now is None:
            error = libvirt.libvirtError("gone")
            error.err = (libvirt.VIR_ERR_NO_DOMAIN,)
            raise error
        return self.now


def told(event: int, domain: Domain, reason: int = 0) -> list[str]:
    """The states that become of an event."""
    found: list[str] = []
    watcher = object.__new__(libvirt_events.Watcher)
    watcher._paused = set()
    watcher.on_event = lambda state, _last: found.append(state.state)
    watcher.readings, watcher.conn = Readings(), Connection()
    watcher._lifecycle(None, domain, event, reason, None)
    return found


INACTIVE, ACTIVE = -1, 7


@pytest.mark.parametrize("since", [None, libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_SHUTOFF])
def test_a_change_is_told_as_it_was_whatever_became_of_the_domain_since(since: int | None) -> None:
    assert told(libvirt.VIR_DOMAIN_EVENT_DEFINED, Domain(INACTIVE, since)) == [wire.SHUT_OFF]
    assert told(libvirt.VIR_DOMAIN_EVENT_UNDEFINED, Domain(INACTIVE, since)) == [wire.MISSING]
    assert told(libvirt.VIR_DOMAIN_EVENT_STOPPED, Domain(INACTIVE, since))[0] == wire.SHUT_OFF


def test_a_running_domain_that_is_defined_or_undefined_goes_on() -> None:
    running = Domain(ACTIVE, libvirt.VIR_DOMAIN_RUNNING)
    assert told(libvirt.VIR_DOMAIN_EVENT_DEFINED, running) == [wire.RUNNING]
    assert told(libvirt.VIR_DOMAIN_EVENT_UNDEFINED, running) == [wire.RUNNING]


def test_a_domain_that_is_gone_with_its_end_was_off_and_is_missing() -> None:
    assert told(libvirt.VIR_DOMAIN_EVENT_STOPPED, Domain(INACTIVE, None)) == [wire.SHUT_OFF, wire.MISSING]


def test_a_domain_that_gets_another_name_is_not_missing_meanwhile() -> None:
    renamed = Domain(INACTIVE, libvirt.VIR_DOMAIN_SHUTOFF)
    reason = libvirt.VIR_DOMAIN_EVENT_UNDEFINED_RENAMED
    assert told(libvirt.VIR_DOMAIN_EVENT_UNDEFINED, renamed, reason) == [wire.SHUT_OFF]


class Connection:
    """libvirt's answer of one domain."""

    state = libvirt.VIR_DOMAIN_RUNNING

    def getAllDomainStats(self, _what: int, _flags: int) -> list[tuple[Domain, dict[str, int]]]:
        return [(Domain(ACTIVE, self.state), {"state.state": self.state, "state.reason": 0})]

    def domainListGetStats(self, domains: list[Domain], _what: int, _flags: int) -> list[object]:
        return []


@pytest.mark.parametrize("by_event", [True, False])
def test_a_paused_domain_does_not_run_on_its_way_off(by_event: bool) -> None:
    watcher = object.__new__(libvirt_events.Watcher)
    watcher._paused = set()
    watcher.jobs = {}
    watcher.on_event = lambda _state, _last: None
    watcher.readings, watcher.conn = Readings(), Connection()

    def seen(state: int) -> str:
        watcher.conn.state = state
        [domain] = watcher.full_report()
        return domain.state

    assert seen(libvirt.VIR_DOMAIN_RUNNING) == seen(libvirt.VIR_DOMAIN_SHUTDOWN) == wire.RUNNING
    if by_event:
        suspended = Domain(ACTIVE, libvirt.VIR_DOMAIN_PAUSED)
        watcher._lifecycle(None, suspended, libvirt.VIR_DOMAIN_EVENT_SUSPENDED, 0, None)
    else:
        assert seen(libvirt.VIR_DOMAIN_PAUSED) == wire.PAUSED
    assert seen(libvirt.VIR_DOMAIN_SHUTDOWN) == wire.PAUSED
    assert watcher._look(Domain(ACTIVE, libvirt.VIR_DOMAIN_SHUTDOWN)) == wire.PAUSED
    # It was started anew meanwhile.
    assert seen(libvirt.VIR_DOMAIN_RUNNING) == wire.RUNNING
    assert seen(libvirt.VIR_DOMAIN_SHUTDOWN) == wire.RUNNING


def test_what_is_off_with_its_memory_kept_is_saved() -> None:
    off = libvirt.VIR_DOMAIN_SHUTOFF
    for event in (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_DEFINED):
        assert told(event, Domain(INACTIVE, off, saved=True)) == [wire.SAVED]
