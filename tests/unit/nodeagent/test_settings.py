"""Settings in a description that libvirt keeps: what fits survives, what does not goes; facts and their differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodeagent.commands.settings import controllers
from nodeagent.protocol.host import EMPTY, DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.protocol.settings import Difference, MachineSettings
from nodeagent.xml import edit, facts, machine
from nodeagent.xml.describe import domain_of
from nodeagent.xml.domain import Domain
from tests.refs import ref

VM = "11111111-2222-4333-8444-555555555555"
SPEC = DomainSpec(
    VM,
    "vm",
    512,
    2,
    "qemu",
    [DiskSpec(ref("/p/a.qcow2"), "qcow2", "vda"), DiskSpec(ref("/p/b.qcow2"), "qcow2", "vdb")],
    [InterfaceSpec("52:54:00:00:00:01", "br0")],
    cdroms=[ref("/p/seed.iso")],
)
KEPT = f"""<domain type='qemu'><name>vm</name><uuid>{VM}</uuid>
<metadata><x:note xmlns:x='urn:x'>ours</x:note></metadata>
<memory unit='KiB'>524288</memory><currentMemory unit='KiB'>524288</currentMemory>
<vcpu placement='static'>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='yes'/></vcpus>
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
<features><acpi/><apic/></features><cpu mode='maximum' check='none' migratable='on'><topology sockets='1'/></cpu>
<clock offset='utc'><timer name='hpet' present='no'/></clock>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/p/a.qcow2'/>
<target dev='vda' bus='virtio'/><address type='pci' bus='0x04'/></disk>
<controller type='pci' index='0' model='pcie-root'/><controller type='scsi' index='0' model='virtio-scsi'>
<address type='pci' bus='0x03'/></controller><hostdev mode='subsystem' type='usb'/></devices></domain>"""


def set_all(domain: Domain, spec: DomainSpec) -> None:
    """The domain has all settings of the spec."""
    edit.change_settings(domain, spec, facts.facts_of(domain), edit.SETTINGS)


def kept(**changes: Any) -> Domain:
    """What libvirt keeps after the settings changed."""
    domain = Domain.parse(KEPT)
    of_spec = {name: changes.pop(name) for name in ("memory_mib", "vcpus", "machine", "title") if name in changes}
    set_all(domain, replace(SPEC, **of_spec, settings=MachineSettings(**changes)))
    return domain


def test_what_libvirt_and_others_added_survives() -> None:
    text = kept(clock="localtime", cpu_weight=5).to_xml()
    for part in ("urn:x", 'machine="pc-q35-7.2"', 'name="hpet"', 'migratable="on"', 'bus="0x04"', "hostdev"):
        assert part in text
    assert 'offset="localtime"' in text and "<shares>5</shares>" in text


def test_another_machine_type_has_other_places() -> None:
    text = kept(machine="pc").to_xml()
    assert 'machine="pc"' in text and "pcie-root" not in text and "0x04" not in text
    assert "virtio-scsi" in text and "hostdev" in text


def test_states_of_single_cpus_go_with_their_number() -> None:
    domain = kept(vcpus=1, max_vcpus=4)
    assert (domain.vcpus, domain.vcpus_now, domain.vcpu_states) == (4, 1, False)
    assert kept().vcpus_now is None


def test_another_cpu_keeps_its_topology_only() -> None:
    domain = kept(cpu_mode="custom", cpu_model="qemu64")
    assert (domain.cpu_mode, domain.cpu_model, domain.cpu_check) == ("custom", "qemu64", "none")
    assert "topology" in domain.to_xml() and "migratable" not in domain.to_xml()


def test_uefi_comes_and_goes_without_a_trace() -> None:
    domain = kept(firmware="uefi")
    assert domain.firmware == "efi" and (domain.nvram or "").endswith(f"{VM}_VARS.fd")
    # As libvirt keeps it once it has chosen.
    domain.set(loader="/usr/share/OVMF/OVMF_CODE_4M.fd", loader_type="pflash")
    before = domain.to_xml()
    set_all(domain, replace(SPEC, settings=MachineSettings(firmware="uefi")))
    assert domain.to_xml() == before
    set_all(domain, SPEC)
    assert not machine.has_uefi(domain)
    assert not [tag for tag in ("<firmware", "<loader", "<nvram") if tag in domain.to_xml()]


def test_devices_are_numbered_in_the_order_of_their_kinds() -> None:
    domain = domain_of(replace(SPEC, settings=MachineSettings(boot=["network", "cdrom", "disk"])))
    numbers = {disk.target_dev: disk.boot_order for disk in domain.disks}
    assert (domain.interfaces[0].boot_order, numbers) == (1, {"vda": 3, "vdb": 4, "sda": 2})
    assert facts.facts_of(domain)["boot"] == ["network", "cdrom", "disk"]


def test_limits_are_read_back_as_they_were_asked_for() -> None:
    settings = MachineSettings(cpu_limit_percent=37, cpu_weight=2, io_weight=100, max_memory_mib=1024, max_vcpus=3)
    found = facts.facts_of(domain_of(replace(SPEC, settings=settings)))
    for name in ("cpu_limit_percent", "cpu_weight", "io_weight", "max_memory_mib", "max_vcpus"):
        assert found[name] == getattr(settings, name)


def test_limits_of_devices_are_facts_where_there_are_any() -> None:
    limited = replace(
        SPEC,
        disks=[replace(SPEC.disks[0], read_bytes_sec=1048576, write_iops_sec=50), SPEC.disks[1]],
        interfaces=[replace(SPEC.interfaces[0], outbound_kibps=1000)],
    )
    found = facts.drift(facts.facts_of(domain_of(SPEC)), facts.facts_of(domain_of(limited)))
    assert found == [
        Difference("disk vda limits", None, "read_bytes_sec 1048576, write_iops_sec 50"),
        Difference("interface 52:54:00:00:00:01 limits", None, "outbound_average 1000"),
    ]


@pytest.mark.parametrize(
    ("name", "family"),
    [("pc-q35-7.2", "q35"), ("q35", "q35"), ("pc", "pc"), ("pc-i440fx-7.2", "pc"), ("isapc", "isapc")],
)
def test_versions_of_a_machine_type_are_one_family(name: str, family: str) -> None:
    assert machine.family(name) == family


def test_a_part_that_one_side_lacks_is_a_difference() -> None:
    now, then = {"vcpus": 1, "disk vdb": "b"}, {"vcpus": 1, "disk vda": "a"}
    assert facts.drift(now, then) == [Difference("disk vda", None, "a"), Difference("disk vdb", "b", None)]


@pytest.mark.parametrize(
    ("field", "now", "then"),
    [
        ("cpu_weight", 1024, 0),
        ("cpu_weight", 100, 0),
        ("cpu_mode", "custom", "host-model"),
        ("cpu_model", "Skylake", ""),
        ("cdrom sda", "", "/p/seed.iso"),
    ],
)
def test_what_only_looks_otherwise_while_it_runs_is_not_pending(field: str, now: Any, then: Any) -> None:
    assert facts.pending({field: now}, {field: then}) == []
    assert facts.drift({field: now}, {field: then}) != []


def test_cgroups_of_both_generations_are_known(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("cg /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\nb /b cgroup rw,blkio 0 0\n")
    assert controllers(mounts) == ({"cpu", "io"}, False)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    mounts.write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    assert controllers(mounts) == ({"cpu"}, True)
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert controllers(mounts) == (set(), False)


def test_an_empty_drive_and_a_numbered_source_are_what_they_were() -> None:
    drive = Domain.parse("<domain><devices><disk device='cdrom'><target dev='sda'/></disk></devices></domain>")
    empty = domain_of(replace(SPEC, cdroms=[EMPTY]))
    assert facts.facts_of(drive)["cdrom sda"] == facts.facts_of(empty)["cdrom sda"] == ""
    text = "<domain><devices><disk><source dev='/dev/x'{}/><target dev='vda'/></disk></devices></domain>"
    kept, running = (facts.facts_of(Domain.parse(text.format(more))) for more in ("", " index='2'"))
    assert kept == running


def test_what_no_spec_says_survives_the_change_of_a_device() -> None:
    domain = Domain.parse(KEPT.replace("<os>", "<cputune><vcpupin vcpu='0' cpuset='1'/></cputune><os>"))
    backing = "<backingStore type='file'><source file='/p/a.qcow2'/></backingStore>"
    overlay = KEPT.replace("a.qcow2'/>", f"a.by-hand'/>{backing}")
    before, more = replace(SPEC, disks=[], interfaces=[]), InterfaceSpec(mac="52:54:00:00:00:99", bridge="vmbr-nat0")
    edit.change(domain, replace(before, interfaces=[more]), before)
    text = domain.to_xml()
    for part in ("vcpupin", "urn:x", "hostdev", 'bus="0x04"', "/p/a.qcow2", "52:54:00:00:00:99"):
        assert part in text
    edit.change(domain, before, replace(before, interfaces=[more]))
    assert "52:54" not in domain.to_xml() and "vcpupin" in domain.to_xml()

    domain = Domain.parse(overlay)
    edit.change(domain, replace(before, interfaces=[more]), before)
    assert "/p/a.by-hand" in domain.to_xml() and "backingStore" in domain.to_xml()


def test_another_file_builds_upon_nothing_of_the_one_before() -> None:
    backing = "<backingStore type='file'><source file='/p/b.qcow2'/></backingStore>"
    domain = Domain.parse(KEPT.replace("a.qcow2'/>", f"a.qcow2' startupPolicy='optional'/>{backing}"))
    old = DiskSpec(volume=ref("/p/a.qcow2"), format="qcow2", target="vda")
    before = replace(SPEC, disks=[old], interfaces=[])
    edit.change(domain, replace(before, disks=[replace(old, volume=ref("/p/new.raw"), format="raw")]), before)
    (disk,) = domain.disks
    assert (disk.source.place, disk.driver_type, "backingStore" in domain.to_xml()) == ("/p/new.raw", "raw", False)
    assert 'bus="0x04"' in domain.to_xml() and "startupPolicy" not in domain.to_xml()


def test_the_disk_to_start_from_is_the_panels_first_whatever_libvirts_order_is() -> None:
    first = DiskSpec(volume=ref("/p/a"), format="qcow2", target="sdd", bus="scsi")
    second = replace(first, volume=ref("/p/b"), target="sdc")
    before = replace(SPEC, disks=[replace(first, target="vda", bus="virtio"), second], interfaces=[])
    domain = domain_of(before)
    edit.change(domain, after := replace(before, disks=[first, second]), before)
    domain = Domain.parse(domain.to_xml())
    edit.change_settings(
        domain, replace(after, settings=MachineSettings(boot=["disk"])), facts.facts_of(domain), ["boot"]
    )
    assert {disk.target_dev: disk.boot_order for disk in domain.disks if disk.device == "disk"} == {"sdd": 1, "sdc": 2}
