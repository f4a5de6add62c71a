"""The XML of domains as files: what we give libvirt, and that libvirt takes it.

`pytest tests/golden --regenerate` writes the files anew; read the difference before you keep it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nodeagent.protocol.host import EMPTY, DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.protocol.settings import MachineSettings
from nodeagent.storage import place, source
from nodeagent.xml.describe import domain_of
from nodeagent.xml.domain import Domain
from nodeagent.xml.facts import place_of
from tests.refs import ref

FILES = Path(__file__).parent / "xml"
POOL = "/var/lib/vmpanel/pool"
VM = "11111111-2222-4333-8444-555555555555"
SYSTEM = DiskSpec(volume=ref(f"{POOL}/volumes/aaaa.qcow2"), format="qcow2", target="vda")
NAT = InterfaceSpec(mac="52:54:00:12:34:56", bridge="vmbr-nat0")
SEED = ref(f"{POOL}/seeds/{VM}.iso")

SPECS = {
    "one-disk-tcg": DomainSpec(VM, "vm-1", 1024, 1, "qemu", [SYSTEM], [NAT], cdroms=[SEED]),
    "one-disk-kvm": DomainSpec(VM, "vm-1", 1024, 2, "kvm", [SYSTEM], [NAT], cdroms=[SEED]),
    "two-disks-two-interfaces": DomainSpec(
        VM,
        "vm-2",
        2048,
        4,
        "kvm",
        [SYSTEM, DiskSpec(volume=ref(f"{POOL}/volumes/bbbb.img"), format="raw", target="vdb", cache="writeback")],
        [NAT, InterfaceSpec(mac="52:54:00:12:34:57", bridge="vmbr1", model="e1000e")],
        cdroms=[SEED, ref(f"{POOL}/images/rescue.iso")],
    ),
    "sata-disk-no-network": DomainSpec(
        VM,
        "vm-3",
        256,
        1,
        "qemu",
        [DiskSpec(volume=ref("/p/volumes/x.img"), format="raw", target="sda", bus="sata")],
        [],
    ),
    "every-setting-uefi": DomainSpec(
        VM,
        "vm-5",
        1024,
        2,
        "qemu",
        [SYSTEM],
        [NAT],
        cdroms=[SEED],
        machine="q35",
        title="Shop",
        settings=MachineSettings(
            max_memory_mib=2048,
            max_vcpus=4,
            cpu_weight=512,
            cpu_limit_percent=150,
            io_weight=300,
            cpu_mode="custom",
            cpu_model="qemu64",
            boot=["cdrom", "disk", "network"],
            firmware="uefi",
            clock="localtime",
            description="Of the shop",
        ),
    ),
    "limits-filter-and-iso": DomainSpec(
        VM,
        "vm-5",
        512,
        1,
        "kvm",
        [
            SYSTEM,
            DiskSpec(
                volume=ref(f"{POOL}/volumes/cccc.qcow2"),
                format="qcow2",
                target="sdc",
                bus="scsi",
                read_bytes_sec=1 << 20,
                write_bytes_sec=2 << 20,
                read_iops_sec=100,
                write_iops_sec=200,
            ),
        ],
        [
            InterfaceSpec(
                mac="52:54:00:12:34:58",
                bridge="vmbr-nat0",
                guarded=True,
                addresses=["10.77.0.10"],
                inbound_kibps=1024,
                outbound_kibps=512,
            )
        ],
        cdroms=[SEED],
        iso=ref(f"{POOL}/images/{'a' * 64}.img"),
        boot_iso=True,
    ),
    "installer": DomainSpec(
        VM, "vm-7", 512, 1, "kvm", [SYSTEM], [NAT], iso=ref(f"{POOL}/images/x.img"), boot_iso=True, ends_at_reboot=True
    ),
    "empty-drive": DomainSpec(VM, "vm-6", 512, 1, "kvm", [SYSTEM], [NAT], iso=EMPTY),
    "title-with-xml-characters": DomainSpec(VM, "vm-4", 512, 1, "qemu", [SYSTEM], [NAT], title='<A & B\'s "first">'),
}


def golden(name: str) -> Path:
    """The file with what is expected."""
    return FILES / f"{name}.xml"


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_gives_the_expected_xml(name: str, regenerate: bool) -> None:
    text = domain_of(SPECS[name]).to_xml()
    if regenerate:
        golden(name).write_text(text, encoding="utf-8")
    assert text == golden(name).read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_spec() -> None:
    assert {path.stem for path in FILES.glob("*.xml")} == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_libvirt_takes_the_xml_and_keeps_what_we_said(name: str, tmp_path: Path) -> None:
    domain = Domain.parse(golden(name).read_text(encoding="utf-8"))
    domain.type = "test"
    (tmp_path / "node.xml").write_text("<node/>")
    (tmp_path / "domain.xml").write_text(domain.to_xml(), encoding="utf-8")
    commands = f"define {tmp_path}/domain.xml; dumpxml --security-info {VM}"
    done = subprocess.run(
        ["virsh", "-q", "-c", f"test://{tmp_path}/node.xml", commands], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = Domain.parse(done.stdout[done.stdout.index("<domain") :])
    spec = SPECS[name]
    assert (kept.name, kept.uuid, kept.title) == (spec.name, VM, spec.title or None)
    assert (kept.current_memory, kept.vcpus_now or kept.vcpus) == (spec.memory_mib * 1024, spec.vcpus)
    assert [(disk.source, disk.target_bus) for disk in kept.disks if disk.device == "disk"] == [
        (source(disk.volume), disk.bus) for disk in spec.disks
    ]
    drives = [place_of(disk) for disk in kept.disks if disk.device == "cdrom"]
    assert drives == [*map(place, spec.cdroms), *([] if spec.iso is None else [place(spec.iso)])]
    assert [(each.mac, each.bridge, each.model) for each in kept.interfaces] == [
        (each.mac, each.bridge, each.model) for each in spec.interfaces
    ]
    assert kept.graphics[0].listen == "127.0.0.1"
    assert kept.graphics[0].password_valid_to == "1970-01-01T00:00:01"


@pytest.mark.parametrize("name", SPECS)
def test_the_expected_xml_survives_being_read_and_written(name: str) -> None:
    text = golden(name).read_text(encoding="utf-8")
    assert Domain.parse(text).to_xml() == text
