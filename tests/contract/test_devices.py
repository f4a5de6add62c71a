"""Devices of domains behave alike on the fake node and on the real agent, as far as libvirt's test driver goes.

It plugs and unplugs nothing: that guests get what is plugged in is tests/lab/test_devices.py's to show.
"""

from __future__ import annotations

import dataclasses
import json
import uuid

import pytest

from nodeagent.protocol import Request, audit, devices, host, storage
from nodeagent.protocol.settings import Difference
from nodeagent.storage import place
from panel.core.errors import NodeError
from tests.contract.subjects import MIB, AgentSubject, Subject, code_of, make_spec
from tests.refs import ref

OFF = devices.DeviceState(running=False, live=False)


def refusal(node: Subject, request: Request[object]) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)
    return code_of(caught.value)


def every_change(vm: str) -> list[Request[object]]:
    """One of each, of this domain."""
    disk = host.DiskSpec(volume=ref("/srv/pool/volumes/x.qcow2"), format="qcow2", target="vdb")
    interface = host.InterfaceSpec(mac="52:54:00:00:00:77", bridge="vmbr-nat0")
    return [
        devices.DiskAttach(uuid=vm, disk=disk),
        devices.DiskDetach(uuid=vm, volume=disk.volume),
        devices.DiskLimit(uuid=vm, disk=disk),
        devices.CdromChange(uuid=vm, target=host.ISO_TARGET, iso=host.EMPTY),
        devices.InterfaceAttach(uuid=vm, interface=interface),
        devices.InterfaceDetach(uuid=vm, mac=interface.mac),
        devices.InterfaceChange(uuid=vm, interface=interface),
    ]


@pytest.mark.covers(
    "disk_attach",
    "disk_detach",
    "disk_limit",
    "cdrom_change",
    "interface_attach",
    "interface_detach",
    "interface_change",
)
def test_nothing_is_to_be_done_to_a_domain_that_is_off(node: Subject) -> None:
    spec = make_spec(node.pool)
    before = node.call(host.HostCreate(spec=spec))
    for change in every_change(spec.uuid):
        assert node.call(change) == OFF
    after = node.call(host.HostInfo(uuid=spec.uuid))
    assert dataclasses.replace(after, clock=before.clock) == before


def test_what_is_not_there_can_be_taken_away(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    live = devices.DeviceState(running=True, live=True)
    assert node.call(devices.DiskDetach(uuid=spec.uuid, volume=ref("/srv/pool/volumes/none.qcow2"))) == live
    assert node.call(devices.InterfaceDetach(uuid=spec.uuid, mac="52:54:00:00:00:77")) == live


def test_what_is_there_is_not_plugged_in_twice(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    live = devices.DeviceState(running=True, live=True)
    assert node.call(devices.DiskAttach(uuid=spec.uuid, disk=spec.disks[0])) == live
    assert node.call(devices.InterfaceAttach(uuid=spec.uuid, interface=spec.interfaces[0])) == live


def test_a_disk_on_sata_waits_for_the_next_start(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    disk = host.DiskSpec(volume=ref(f"{node.pool}/volumes/x.qcow2"), format="qcow2", target="sdc", bus="sata")
    assert node.call(devices.DiskAttach(uuid=spec.uuid, disk=disk)) == devices.DeviceState(running=True, live=False)


def test_an_iso_for_a_domain_without_a_drive_waits_for_the_next_start(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    change = devices.CdromChange(uuid=spec.uuid, target=host.ISO_TARGET, iso=ref(f"{node.pool}/images/x.img"))
    assert node.call(change) == devices.DeviceState(running=True, live=False)


def test_a_start_from_the_iso_image_is_for_once(node: Subject) -> None:
    spec = dataclasses.replace(make_spec(node.pool), iso=ref(f"{node.pool}/images/x.img"))
    node.call(host.HostCreate(spec=spec))
    once = host.HostStart(uuid=spec.uuid, from_iso=True)
    # Asked again, by a worker that took over, it is the same start.
    for _ in range(2):
        started = node.call(once)
        assert (started.state, started.from_iso, started.persistent) == ("running", True, True)
        [told] = node.call(audit.HostsAudit(specs=[spec])).differing
        assert told.drift == [] and told.pending == [Difference("boot", ["cdrom", "disk"], ["disk"])]
    for start, from_iso in ((host.HostStart(uuid=spec.uuid), False), (once, True)):
        node.call(host.HostStop(uuid=spec.uuid))
        assert node.call(host.HostInfo(uuid=spec.uuid)).persistent
        assert node.call(start).from_iso is from_iso
    node.call(host.HostStop(uuid=spec.uuid))
    node.call(host.HostStart(uuid=spec.uuid))
    assert node.call(audit.HostsAudit(specs=[spec])).differing == []
    # It runs already, from its disk.
    assert not node.call(once).from_iso


@pytest.mark.parametrize("iso, boot_iso", [(None, False), ("", False), ("x.img", True)])
def test_without_an_iso_image_or_with_one_for_every_start_there_is_nothing_to_do_once(
    node: Subject, iso: str | None, boot_iso: bool
) -> None:
    there = ref(f"{node.pool}/images/{iso}") if iso else host.EMPTY
    spec = dataclasses.replace(make_spec(node.pool), iso=None if iso is None else there, boot_iso=boot_iso)
    node.call(host.HostCreate(spec=spec))
    started = node.call(host.HostStart(uuid=spec.uuid, from_iso=True))
    assert (started.state, started.from_iso) == ("running", False)
    assert node.call(audit.HostsAudit(specs=[spec])).differing == []


@pytest.mark.covers("disk_grow")
def test_a_disk_grows_and_never_shrinks(node: Subject) -> None:
    spec = make_spec(node.pool)
    path = place(spec.disks[0].volume)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=4 * MIB))
    node.call(host.HostCreate(spec=spec))
    for asked, size in ((8 * MIB, 8 * MIB), (MIB, 8 * MIB)):
        grow = devices.DiskGrow(uuid=spec.uuid, volume=ref(path), size_bytes=asked)
        assert node.call(grow).virtual_bytes == size
    outside = devices.DiskGrow(uuid=spec.uuid, volume=ref("/etc/shadow"), size_bytes=MIB)
    assert refusal(node, outside) == "invalid_params"


def test_an_absent_domain_has_no_devices(node: Subject) -> None:
    for change in every_change(str(uuid.uuid4())):
        assert refusal(node, change) == "no_such_domain"
    for change in every_change("vm-1"):
        assert refusal(node, change) == "invalid_params"


def guarded(pool: str) -> host.DomainSpec:
    """A VM whose port is filtered."""
    spec = make_spec(pool)
    interface = dataclasses.replace(spec.interfaces[0], guarded=True, addresses=["10.77.0.10"])
    return dataclasses.replace(spec, interfaces=[interface])


def guards(node: AgentSubject) -> set[str]:
    """The ports that the kernel filters."""
    ruleset = json.loads(node.agent.run_in_namespace("nft", "-j", "list", "ruleset"))["nftables"]
    return {each["chain"]["name"] for each in ruleset if "chain" in each} - {"prerouting"}


@pytest.mark.netns
def test_a_port_is_filtered_from_its_domain_s_description_to_its_end(node: Subject) -> None:
    first, second = guarded(node.pool), guarded(node.pool)
    second = dataclasses.replace(
        second, interfaces=[dataclasses.replace(second.interfaces[0], mac="52:54:00:00:00:02")]
    )
    for spec in (first, second, second):
        node.call(host.HostCreate(spec=spec))
    if not isinstance(node, AgentSubject):
        return
    assert guards(node) == {"tap525400123456", "tap525400000002"}
    node.call(host.HostCreate(spec=dataclasses.replace(first, interfaces=[])))
    assert guards(node) == {"tap525400000002"}
    # A node that has been restarted, or whose rules were flushed, has them again.
    node.agent.run_in_namespace("nft", "flush", "ruleset")
    node.call(host.HostCreate(spec=second))
    assert guards(node) == {"tap525400000002"}
    node.call(host.HostDelete(uuid=first.uuid))
    for _ in range(2):
        node.call(host.HostDelete(uuid=second.uuid))
    assert guards(node) == set()


@pytest.mark.netns
@pytest.mark.parametrize("changes", [{"mac": "52:54:00:12:34:56 accept"}, {"addresses": ["10.0.0.0/8"]}])
def test_a_filter_of_what_is_no_address_is_refused(node: Subject, changes: dict[str, object]) -> None:
    spec = guarded(node.pool)
    interface = dataclasses.replace(spec.interfaces[0], **changes)  # type: ignore[arg-type]
    assert refusal(node, host.HostCreate(spec=dataclasses.replace(spec, interfaces=[interface]))) == "invalid_params"
    assert not node.call(host.HostInfo(uuid=spec.uuid)).exists
