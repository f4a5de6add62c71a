"""What somebody changed by hand survives what the panel changes, or is in its way: alike on the fake and the agent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nodeagent.protocol import audit, devices, host
from nodeagent.protocol.settings import Difference
from nodeagent.storage import place
from panel.core.errors import Drifted
from tests.contract.subjects import Subject, make_spec
from tests.contract.test_settings import audited, changed
from tests.refs import ref


def by_hand(node: Subject, spec: host.DomainSpec, **changes: Any) -> host.DomainSpec:
    """The domain is there, and somebody has changed its description since."""
    node.call(host.HostCreate(spec=spec))
    other = changed(spec, **changes)
    node.call(host.HostCreate(spec=other))
    return other


def overlay(spec: host.DomainSpec) -> list[host.DiskSpec]:
    """The first disk goes on in another file, as after a snapshot made by hand."""
    first, *others = spec.disks
    return [dataclasses.replace(first, volume=ref(f"{place(first.volume)}.by-hand")), *others]


def with_interface(spec: host.DomainSpec) -> host.DomainSpec:
    """One more interface."""
    more = host.InterfaceSpec(mac="52:54:00:00:00:77", bridge="vmbr-nat0")
    return dataclasses.replace(spec, interfaces=[*spec.interfaces, more])


def drift_of(node: Subject, spec: host.DomainSpec) -> dict[str, tuple[Any, Any]]:
    """What the node has otherwise than this."""
    return {each.field: (each.now, each.then) for found in audited(node, spec).differing for each in found.drift}


def test_a_device_comes_and_goes_and_all_else_stays_as_somebody_made_it(node: Subject) -> None:
    spec = make_spec(node.pool)
    mine = host.DiskSpec(volume=ref("/srv/mine.img"), format="raw", target="vdx")
    theirs = by_hand(node, spec, disks=[*overlay(spec), mine], vcpus=3, clock="localtime")
    more = with_interface(spec)
    for before, after, expected in ((spec, more, with_interface(theirs)), (more, spec, theirs)):
        # Again, as whoever takes the task over does.
        for _ in range(2):
            node.call(host.HostCreate(spec=after, before=before))
            assert audited(node, expected) == audit.Audit()
    assert set(drift_of(node, spec)) == {"vcpus", "max_vcpus", "clock", "disk vda", "disk vdx"}


def test_a_device_that_somebody_changed_is_not_changed_nor_taken_away(node: Subject) -> None:
    spec = make_spec(node.pool)
    theirs = by_hand(node, spec, disks=overlay(spec))
    first = spec.disks[0]
    for disks in (
        [],
        [dataclasses.replace(first, cache="writeback")],
        [dataclasses.replace(first, volume=ref("/srv/x"))],
    ):
        with pytest.raises(Drifted) as caught:
            node.call(host.HostCreate(spec=dataclasses.replace(spec, disks=disks), before=spec))
        (difference,) = caught.value.data["differences"]
        assert difference["field"] == "disk vda"
        assert difference["node"].startswith(f"{place(first.volume)}.by-hand, ")
        assert difference["stored"].startswith(f"{place(first.volume)}, ")
        assert audited(node, theirs) == audit.Audit()
    # Its limits are another matter.
    limited = dataclasses.replace(spec, disks=[dataclasses.replace(first, read_iops_sec=500)])
    node.call(host.HostCreate(spec=limited, before=spec))
    assert set(drift_of(node, limited)) == {"disk vda"}


def test_a_place_that_somebody_took_is_not_given_to_another(node: Subject) -> None:
    spec = make_spec(node.pool)
    mine = host.DiskSpec(volume=ref("/srv/mine.img"), format="raw", target="vdb")
    theirs = by_hand(node, spec, disks=[*spec.disks, mine])
    new = host.DiskSpec(volume=ref(f"{node.pool}/volumes/new.qcow2"), format="qcow2", target="vdb")
    with pytest.raises(Drifted):
        node.call(host.HostCreate(spec=dataclasses.replace(spec, disks=[*spec.disks, new]), before=spec))
    assert audited(node, theirs) == audit.Audit()


def test_another_medium_makes_room(node: Subject) -> None:
    spec = dataclasses.replace(make_spec(node.pool), iso=host.EMPTY)
    by_hand(node, spec, iso=ref("/srv/mine.iso"))
    after = dataclasses.replace(spec, iso=ref(f"{node.pool}/images/x.img"))
    node.call(host.HostCreate(spec=after, before=spec))
    assert audited(node, after) == audit.Audit()


def test_a_disk_is_another_file_at_once_with_a_seed_of_its_own(node: Subject) -> None:
    spec = make_spec(node.pool)
    theirs = by_hand(node, spec, clock="localtime")
    disk = dataclasses.replace(spec.disks[0], volume=ref(f"{node.pool}/volumes/new.raw"), format="raw")
    after = dataclasses.replace(spec, disks=[disk], cdroms=[ref(f"{node.pool}/seeds/new.iso")])
    node.call(host.HostCreate(spec=after, before=spec))
    assert audited(node, dataclasses.replace(theirs, disks=after.disks, cdroms=after.cdroms)) == audit.Audit()
    node.call(host.HostCreate(spec=spec, before=after))
    assert audited(node, theirs) == audit.Audit()


def test_a_disk_changes_its_bus_with_its_name(node: Subject) -> None:
    spec = make_spec(node.pool)
    second = host.DiskSpec(volume=ref(f"{node.pool}/volumes/x.qcow2"), format="qcow2", target="sdc", bus="sata")
    before = dataclasses.replace(spec, disks=[*spec.disks, second])
    node.call(host.HostCreate(spec=before))
    for bus, target in (("virtio", "vdb"), ("scsi", "sdc"), ("sata", "sdc")):
        after = dataclasses.replace(spec, disks=[*spec.disks, dataclasses.replace(second, bus=bus, target=target)])
        node.call(host.HostCreate(spec=after, before=before))
        assert audited(node, after) == audit.Audit()
        before = after


def test_a_setting_changes_and_another_that_somebody_changed_does_not(node: Subject) -> None:
    spec = make_spec(node.pool)
    theirs = by_hand(node, spec, vcpus=3, boot=["network", "disk"])
    after = changed(spec, title="Shop", clock="localtime", memory_mib=768)
    for _ in range(2):
        node.call(audit.HostConfigure(spec=after, before=spec))
        assert audited(node, changed(theirs, title="Shop", clock="localtime", memory_mib=768)) == audit.Audit()
    with pytest.raises(Drifted) as caught:
        node.call(audit.HostConfigure(spec=changed(after, vcpus=2), before=after))
    assert [each["field"] for each in caught.value.data["differences"]] == ["vcpus", "max_vcpus"]
    assert set(drift_of(node, after)) == {"vcpus", "max_vcpus", "boot"}


def test_the_same_again_makes_a_domain_as_the_panel_has_it(node: Subject) -> None:
    spec = make_spec(node.pool)
    mine = host.DiskSpec(volume=ref("/srv/mine.img"), format="raw", target="vdx")
    by_hand(node, spec, disks=[*overlay(spec), mine], vcpus=3, clock="localtime", interfaces=[])
    node.call(host.HostCreate(spec=spec))
    assert audited(node, spec) == audit.Audit()


def test_a_guest_that_writes_to_another_file_keeps_its_disk(node: Subject) -> None:
    spec = make_spec(node.pool)
    by_hand(node, spec, disks=overlay(spec))
    node.call(host.HostStart(uuid=spec.uuid))
    with pytest.raises(Drifted) as caught:
        node.call(devices.DiskDetach(uuid=spec.uuid, volume=spec.disks[0].volume, target="vda"))
    assert [each["field"] for each in caught.value.data["differences"]] == ["disk vda"]


def test_one_domain_is_compared_without_a_list_of_the_others(node: Subject) -> None:
    spec, other, absent = (make_spec(node.pool, name=name) for name in ("one", "two", "three"))
    for each in (spec, other):
        node.call(host.HostCreate(spec=each))
    found = node.call(audit.HostsAudit(specs=[changed(spec, clock="localtime"), absent], others=False))
    assert (found.foreign, found.absent) == ([], [absent.uuid])
    assert [each.drift for each in found.differing] == [[Difference("clock", "utc", "localtime")]]
