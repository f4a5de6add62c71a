"""The domain of a VM, as the panel wants it, in libvirt's terms."""

from __future__ import annotations

from typing import Any, Dict

from nodeagent import storage as storages
from nodeagent.protocol.host import ISO_TARGET, DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.xml import machine
from nodeagent.xml.domain import DISK_LIMITS, Domain

PORTS = 16
"""Slots for devices; a VM begins with seven in use."""
NEVER = "1970-01-01T00:00:01"
"""A console's password is no good until console_open gives it a time."""


def domain_of(spec: DomainSpec, *, test_driver: bool = False) -> Domain:
    """The domain's description; the same spec gives the same XML.

    `test_driver`: libvirt's test driver takes no domain of another type than "test".
    """
    domain = Domain()
    domain.set(
        type="test" if test_driver else spec.virt,
        name=spec.name,
        uuid=spec.uuid,
    )
    machine.set_sizes(domain, spec)
    machine.set_system(domain, spec)
    domain.set(acpi=True, apic=True)
    machine.set_cpu(domain, spec)
    machine.set_clock(domain, spec)
    domain.set(on_poweroff="destroy", on_reboot="destroy" if spec.ends_at_reboot else "restart", on_crash="destroy")
    if "q35" in spec.machine:
        _add_ports(domain)
    _add_storage(domain, spec)
    for interface in spec.interfaces:
        domain.interfaces.add(**interface_values(interface))
    _add_devices(domain)
    machine.set_boot(domain, spec)
    return domain


def disk_values(disk: DiskSpec) -> Dict[str, Any]:
    """A disk's properties, but for its place in the boot order."""
    source = storages.source(disk.volume)
    return {
        "type": source.type,
        "device": "disk",
        "driver_name": "qemu",
        "driver_type": disk.format,
        "cache": disk.cache,
        "discard": "unmap",
        "source": source,
        "target_dev": disk.target,
        "target_bus": disk.bus,
        **{name: getattr(disk, name) or None for name in DISK_LIMITS},
    }


def interface_values(interface: InterfaceSpec) -> Dict[str, Any]:
    """A network interface's properties."""
    return {
        "type": "bridge",
        "mac": interface.mac,
        "bridge": interface.bridge,
        "model": interface.model,
        "target_dev": port_name(interface.mac),
        "inbound_average": interface.inbound_kibps or None,
        "outbound_average": interface.outbound_kibps or None,
    }


def port_name(mac: str) -> str:
    """The name of an interface's port on the node, by which it is filtered before it is there; 15 characters."""
    return "tap" + mac.lower().replace(":", "")


def _add_ports(domain: Domain) -> None:
    # Each PCI Express device needs a port of its own, and none can be added to a running domain.
    domain.controllers.add(type="pci", model="pcie-root", index=0)
    for number in range(1, PORTS + 1):
        domain.controllers.add(type="pci", model="pcie-root-port", index=number)


def _add_storage(domain: Domain, spec: DomainSpec) -> None:
    for disk in spec.disks:
        domain.disks.add(**disk_values(disk))
    # Not SATA: the kernels of cloud images have no driver for AHCI. There for disks that come later, too.
    domain.controllers.add(type="scsi", model="virtio-scsi")
    for number, seed in enumerate(spec.cdroms):
        domain.disks.add(
            type="file",
            device="cdrom",
            driver_name="qemu",
            driver_type="raw",
            source=storages.source(seed) if seed else None,
            target_dev=f"sd{chr(ord('a') + number)}",
            target_bus="scsi",
            read_only=True,
        )
    if spec.iso is not None:
        # SATA, which every installer knows. A drive cannot be added to a running domain, so it is there when empty.
        domain.disks.add(
            type="file",
            device="cdrom",
            driver_name="qemu",
            driver_type="raw",
            source=storages.source(spec.iso) if spec.iso else None,
            target_dev=ISO_TARGET,
            target_bus="sata",
            read_only=True,
        )


def _add_devices(domain: Domain) -> None:
    domain.serials.add(type="pty", target_port=0)
    domain.consoles.add(type="pty", target_type="serial", target_port=0)
    domain.channels.add(type="unix", target_type="virtio", target_name="org.qemu.guest_agent.0")
    domain.inputs.add(type="tablet", bus="usb")
    domain.graphics.add(
        type="vnc",
        port=-1,
        autoport=True,
        listen="127.0.0.1",
        # Empty lets nobody in; without one libvirt drops the expiry too and lets everybody in.
        password="",
        password_valid_to=NEVER,
        listen_type="address",
        listen_address="127.0.0.1",
    )
    domain.videos.add(model="vga")
    domain.memballoon_model = "virtio"
    domain.rngs.add(model="virtio", backend="/dev/urandom", backend_model="random")
