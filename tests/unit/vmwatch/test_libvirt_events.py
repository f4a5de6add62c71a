"""libvirt's numbers as words."""

from __future__ import annotations

import libvirt
import pytest

from vmwatch import libvirt_events, wire

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
