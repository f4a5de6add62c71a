"""A domain's settings, and what is compared of it, are alike on the fake node and on the real agent."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest

from nodeagent import storage as storages
from nodeagent.protocol import audit, host, storage
from nodeagent.protocol.settings import Difference, MachineSettings
from nodeagent.storage import place
from panel.core.errors import CommandFailed
from tests.contract.subjects import Subject, make_spec
from tests.contract.test_hosts import create, refusal


def changed(spec: host.DomainSpec, **values: Any) -> host.DomainSpec:
    """The spec with other values, those of its settings too."""
    names = {field.name for field in dataclasses.fields(MachineSettings)}
    settings = dataclasses.replace(spec.settings, **{name: values.pop(name) for name in names & set(values)})
    return dataclasses.replace(spec, settings=settings, **values)


def audited(node: Subject, *specs: host.DomainSpec) -> audit.Audit:
    """What a comparison with these specs finds; what was there before the test is left out."""
    found = node.call(audit.HostsAudit(specs=list(specs)))
    # libvirt's test driver has a domain of its own.
    return dataclasses.replace(found, foreign=[each for each in found.foreign if each.name != "test"])


ALL = {
    "title": "Shop <1>",
    "description": "Of & for\nthe shop",
    "memory_mib": 768,
    "max_memory_mib": 1024,
    "vcpus": 2,
    "max_vcpus": 4,
    "cpu_weight": 512,
    "cpu_limit_percent": 150,
    "io_weight": 300,
    "cpu_mode": "custom",
    "cpu_model": "qemu64",
    "boot": ["cdrom", "disk", "network"],
    "clock": "localtime",
}


@pytest.mark.covers("hosts_audit")
def test_a_new_domain_is_what_the_panel_wants(node: Subject) -> None:
    specs = [create(node), changed(make_spec(node.pool, name="other"), **ALL)]
    node.call(host.HostCreate(spec=specs[1]))
    assert audited(node, *specs) == audit.Audit()
    node.call(host.HostStart(uuid=specs[0].uuid))
    assert audited(node, *specs) == audit.Audit()


@pytest.mark.covers("host_configure")
def test_a_domain_that_is_off_takes_every_setting(node: Subject) -> None:
    spec = create(node)
    after = changed(spec, **ALL)
    assert node.call(audit.HostConfigure(spec=after)) == audit.Configured()
    assert audited(node, after) == audit.Audit()
    assert node.call(audit.HostConfigure(spec=spec)) == audit.Configured()
    assert audited(node, spec) == audit.Audit()


def test_a_setting_is_changed_alone(node: Subject) -> None:
    spec = create(node)
    node.call(audit.HostConfigure(spec=changed(spec, clock="localtime")))
    (found,) = audited(node, spec).differing
    assert found == audit.Differing(spec.uuid, drift=[Difference("clock", "localtime", "utc")])


def test_devices_are_left_as_they_are(node: Subject) -> None:
    spec = create(node)
    node.call(audit.HostConfigure(spec=dataclasses.replace(spec, disks=[], interfaces=[], vcpus=3)))
    assert audited(node, dataclasses.replace(spec, vcpus=3)) == audit.Audit()


def test_what_a_running_domain_cannot_change_is_pending_until_it_starts_again(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    after = changed(spec, max_vcpus=4, vcpus=4, clock="localtime")
    answer = node.call(audit.HostConfigure(spec=after))
    expected = [Difference("vcpus", 1, 4), Difference("max_vcpus", 1, 4), Difference("clock", "utc", "localtime")]
    assert answer.pending == expected
    (found,) = audited(node, after).differing
    assert found == audit.Differing(spec.uuid, pending=expected)

    node.call(host.HostStop(uuid=spec.uuid))
    assert audited(node, after) == audit.Audit()
    node.call(host.HostStart(uuid=spec.uuid))
    assert audited(node, after) == audit.Audit()


def test_cpus_come_and_memory_goes_while_it_runs_as_far_as_it_was_started_for(node: Subject) -> None:
    spec = changed(make_spec(node.pool), max_vcpus=2)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    answer = node.call(audit.HostConfigure(spec=changed(spec, vcpus=2, memory_mib=256, max_memory_mib=512)))
    assert answer == audit.Configured()


def test_an_absent_domain_cannot_be_configured(node: Subject) -> None:
    assert refusal(node, audit.HostConfigure(spec=make_spec(node.pool))) == "no_such_domain"


@pytest.mark.covers("host_repair")
def test_a_repaired_domain_is_what_the_panel_wants_again(node: Subject) -> None:
    spec = create(node)
    other = dataclasses.replace(changed(spec, cpu_weight=99), vcpus=3, disks=[])
    node.call(host.HostCreate(spec=other))
    (found,) = audited(node, spec).differing
    assert [each.field for each in found.drift] == ["vcpus", "max_vcpus", "cpu_weight", "disk vda"]
    assert found.drift[-1].now is None
    assert node.call(audit.HostRepair(spec=spec)) == audit.Configured()
    assert audited(node, spec) == audit.Audit()


def test_a_running_domain_is_repaired_for_its_next_start(node: Subject) -> None:
    spec = create(node, vcpus=3)
    node.call(host.HostStart(uuid=spec.uuid))
    answer = node.call(audit.HostRepair(spec=dataclasses.replace(spec, vcpus=1)))
    assert answer.pending == [Difference("vcpus", 3, 1), Difference("max_vcpus", 3, 1)]
    assert node.call(host.HostInfo(uuid=spec.uuid)).state == "running"


def test_a_domain_that_is_gone_is_made_again_by_a_repair(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(storage.VolumeCreate(volume=spec.disks[0].volume, size_bytes=1024**2))
    assert audited(node, spec).absent == [spec.uuid]
    spec = dataclasses.replace(spec, autostart=True)
    node.call(audit.HostRepair(spec=spec))
    assert node.call(host.HostInfo(uuid=spec.uuid)).autostart
    assert audited(node, spec) == audit.Audit()


def test_a_domain_that_starts_with_its_node_against_the_panel_s_will_differs_until_it_is_repaired(
    node: Subject,
) -> None:
    spec = create(node)
    node.call(host.HostAutostart(uuid=spec.uuid, enabled=True))
    assert audited(node, spec).differing == [audit.Differing(spec.uuid, [Difference("autostart", True, False)], [])]
    node.call(audit.HostRepair(spec=spec))
    assert audited(node, spec) == audit.Audit()


def test_a_domain_that_is_gone_with_a_disk_is_not_made_again(node: Subject) -> None:
    spec = make_spec(node.pool)
    with pytest.raises(CommandFailed, match=f"but disks too: {spec.uuid}.qcow2"):
        node.call(audit.HostRepair(spec=spec))
    assert audited(node, spec).absent == [spec.uuid]


def test_a_domain_that_libvirt_forgets_when_it_stops_differs_until_it_is_repaired(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    node.forget_when_off(spec.uuid)
    assert not node.call(host.HostInfo(uuid=spec.uuid)).persistent
    assert audited(node, spec).differing == [audit.Differing(spec.uuid, [Difference("persistent", False, True)], [])]
    node.call(audit.HostRepair(spec=spec))
    assert node.call(host.HostInfo(uuid=spec.uuid)).persistent
    assert audited(node, spec) == audit.Audit()


def test_a_domain_that_nobody_named_is_unmanaged(node: Subject) -> None:
    spec = create(node, name="stranger")
    (found,) = audited(node).foreign
    assert (found.uuid, found.name, found.state, found.memory_mib, found.vcpus) == (
        spec.uuid,
        "stranger",
        "shut off",
        512,
        1,
    )
    assert (found.disks, found.macs) == ([place(spec.disks[0].volume)], [spec.interfaces[0].mac])
    assert found.details is not None
    # In which pool a disk lies is for whoever knows the pools to say.
    disks = [dataclasses.replace(disk, volume=storages.at(place(disk.volume))) for disk in spec.disks]
    assert (found.details.disks, found.details.interfaces) == (disks, spec.interfaces)
    assert (found.details.facts["clock"], found.details.persistent, found.details.snapshots) == ("utc", True, 0)
    assert audited(node, spec) == audit.Audit()


def test_a_spec_without_a_domain_is_absent(node: Subject) -> None:
    vm = str(uuid.uuid4())
    assert audited(node, make_spec(node.pool, uuid=vm)).absent == [vm]
