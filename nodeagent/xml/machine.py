"""The settings of a domain that are neither disks nor interfaces, written into a description.

Both into a new one (describe.py) and into one that libvirt keeps, where what libvirt or an
administrator has added survives as long as it fits.
"""

from __future__ import annotations

from typing import Iterable, List, Optional, Union

from nodeagent.protocol.host import ISO_TARGET, DomainSpec
from nodeagent.xml.domain import Disk, Domain, Interface

NVRAM = "/var/lib/libvirt/qemu/nvram"
PERIOD_MICROSECONDS = 100_000
FIRST, NOT_BOOTED = 1, -1
"""Numbers in the boot order; the second is QEMU's alone."""
MADE_BY_LIBVIRT = ("pci", "usb", "sata", "ide")
"""Controllers that libvirt adds to suit the machine type, and would not move to another."""


def set_sizes(domain: Domain, spec: DomainSpec) -> None:
    """Title, memory, CPUs, and what they may take."""
    wanted = spec.settings
    most_mib, most_vcpus = max(wanted.max_memory_mib, spec.memory_mib), max(wanted.max_vcpus, spec.vcpus)
    # It names each CPU up to the maximum before.
    domain.vcpu_states = False
    domain.set(
        title=spec.title or None,
        description=wanted.description or None,
        memory=most_mib * 1024,
        memory_unit="KiB",
        current_memory=spec.memory_mib * 1024,
        current_memory_unit="KiB",
        vcpus=most_vcpus,
        vcpus_now=spec.vcpus if spec.vcpus < most_vcpus else None,
        cpu_shares=wanted.cpu_weight or None,
        cpu_period=PERIOD_MICROSECONDS if wanted.cpu_limit_percent else None,
        cpu_quota=wanted.cpu_limit_percent * PERIOD_MICROSECONDS // 100 or None,
        io_weight=wanted.io_weight or None,
    )


def set_system(domain: Domain, spec: DomainSpec) -> None:
    """Machine type and firmware. The same type of a certain version, as libvirt has noted it, stays."""
    same = domain.machine is not None and family(domain.machine) == family(spec.machine)
    domain.set(os_type="hvm", arch="x86_64", machine=domain.machine if same else spec.machine)
    wants_uefi = spec.settings.firmware == "uefi"
    if (wants_uefi, True) == (has_uefi(domain), same):
        return
    domain.set(firmware=None, firmware_wishes=False, loader=None, nvram=None)
    if wants_uefi:
        domain.firmware = "efi"
        # Secure boot lets in only what Microsoft signed, and does not exist for the older machine type.
        domain.firmware_features.add(enabled=False, name="secure-boot")
        domain.nvram = f"{NVRAM}/{spec.uuid}_VARS.fd"


def set_cpu(domain: Domain, spec: DomainSpec) -> None:
    """The CPU that the guest sees."""
    # TCG guests hang or abort with the host's model; "maximum" is what the emulator can do at best.
    mode = spec.settings.cpu_mode or ("host-passthrough" if spec.virt == "kvm" else "maximum")
    model = spec.settings.cpu_model if mode == "custom" else None
    if (domain.cpu_mode, domain.cpu_model if domain.cpu_mode == "custom" else None) == (mode, model):
        return
    cpu = domain.node.find("cpu")
    if cpu is not None:
        cpu.attrib.clear()
        for child in [child for child in cpu if child.tag not in ("topology", "numa")]:
            cpu.remove(child)
    domain.cpu_mode = mode
    if model is not None:
        # libvirt compares the model with the host's CPU before a start, which says nothing about an emulated one.
        check = "none" if spec.virt == "qemu" else None
        domain.set(cpu_match="exact", cpu_check=check, cpu_model=model, cpu_fallback="forbid")


def set_clock(domain: Domain, spec: DomainSpec) -> None:
    """What the guest's clock shows."""
    domain.clock_offset = spec.settings.clock


def set_boot(domain: Domain, spec: DomainSpec) -> None:
    """Each device that may be booted from has its number."""
    for device in [*domain.disks, *domain.interfaces]:
        device.boot_order = None
        for empty in device.node.findall("boot"):
            device.node.remove(empty)
    system = domain.node.find("os")
    if system is not None:
        for boot in system.findall("boot"):
            system.remove(boot)
    first = [disk for disk in domain.disks if spec.iso and spec.boot_iso and disk.target_dev == ISO_TARGET]
    in_order = [*first, *(device for kind in spec.settings.boot for device in bootable(domain, kind, spec))]
    for device in in_order:
        if device.boot_order is None:
            device.boot_order = 1 + sum(other.boot_order is not None for other in in_order)


def drive_with_iso(domain: Domain) -> Optional[Disk]:
    """The drive for ISO images, if something lies in it."""
    found = (disk for disk in domain.disks if disk.target_dev == ISO_TARGET and disk.device == "cdrom")
    return next((disk for disk in found if disk.source), None)


def boot_before_all(domain: Domain, first: Disk) -> None:
    """The disk is booted from before all that was, in the order that it was in: each one number further."""
    for device in [*domain.disks, *domain.interfaces]:
        if device.boot_order is not None:
            device.boot_order += 1
    first.boot_order = FIRST


def order_after_reset(described: Optional[int]) -> int:
    """The number of a disk that boot_before_all() made the first, when it is where it is `described` again."""
    return NOT_BOOTED if described is None else described + 1


def bootable(domain: Domain, kind: str, spec: DomainSpec) -> Iterable[Union[Disk, Interface]]:
    """The devices of a kind (disk, cdrom, network), in the order of the spec: libvirt keeps them in its own.

    Those that no spec has come last.
    """
    if kind == "network":
        macs = [each.mac.lower() for each in spec.interfaces]
        return sorted(domain.interfaces, key=lambda each: _place((each.mac or "").lower(), macs))
    targets = [each.target for each in spec.disks]
    found = [disk for disk in domain.disks if (disk.device or "disk") == kind]
    return sorted(found, key=lambda each: _place(each.target_dev or "", targets))


def _place(name: str, names: List[str]) -> int:
    return names.index(name) if name in names else len(names)


def family(machine: object) -> str:
    """“q35” for pc-q35-7.2, “pc” for pc-i440fx-7.2; another type is its own."""
    name = str(machine or "")
    if "q35" in name:
        return "q35"
    return "pc" if name == "pc" or name.startswith("pc-") else name


def has_uefi(domain: Domain) -> bool:
    """Whether the domain's firmware is UEFI, chosen by libvirt or named."""
    return domain.firmware == "efi" or domain.loader_type == "pflash"


def forget_places(domain: Domain) -> None:
    """No device says where it is plugged in; libvirt finds places that the new machine type has."""
    devices = domain.node.find("devices")
    if devices is None:
        return
    for device in list(devices):
        if device.tag == "controller" and device.get("type") in MADE_BY_LIBVIRT:
            devices.remove(device)
        for address in device.findall("address"):
            if address.get("type") in ("pci", "usb"):
                device.remove(address)
