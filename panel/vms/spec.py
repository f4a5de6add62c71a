"""A VM's rows as the domain that the node shall have."""

from __future__ import annotations

from nodeagent.protocol.host import DiskSpec, HostSpec, InterfaceSpec
from nodeagent.protocol.settings import MachineSettings
from nodeagent.protocol.storage import GuestIdentity
from panel.images.models import Customization
from panel.vms.models import Disk, Interface, Vm


def host_spec(vm: Vm) -> HostSpec:
    """The domain of a VM; the same rows always give the same description."""
    disks = [disk_spec(disk) for disk in vm.disks.filter(attached=True).select_related("volume__pool")]
    interfaces = [
        interface_spec(interface)
        for interface in vm.interfaces.filter(attached=True).select_related("network", "address")
    ]
    return HostSpec(
        uuid=str(vm.uuid),
        name=vm.name,
        memory_mib=vm.memory_mib,
        vcpus=vm.vcpus,
        virt=vm.node.accel,
        disks=disks,
        interfaces=interfaces,
        cdroms=[vm.seed_path] if uses_seed(vm) else [],
        machine=vm.machine,
        title=vm.title,
        settings=MachineSettings(
            max_memory_mib=vm.max_memory_mib,
            max_vcpus=vm.max_vcpus,
            cpu_weight=vm.cpu_weight,
            cpu_limit_percent=vm.cpu_limit_percent,
            io_weight=vm.io_weight,
            cpu_mode=vm.cpu_mode,
            cpu_model=vm.cpu_model,
            boot=list(vm.boot_order),
            firmware=vm.firmware,
            clock=vm.clock,
            description=vm.description,
        ),
        autostart=vm.autostart and not vm.suspended,
        iso=vm.iso_path,
        boot_iso=vm.boot_iso,
    )


def disk_spec(disk: Disk) -> DiskSpec:
    """A disk of the domain."""
    return DiskSpec(
        path=disk.volume.path,
        format=disk.volume.format,
        target=disk.target,
        bus=disk.bus,
        cache=disk.cache,
        read_bytes_sec=disk.read_bytes_sec,
        write_bytes_sec=disk.write_bytes_sec,
        read_iops_sec=disk.read_iops_sec,
        write_iops_sec=disk.write_iops_sec,
    )


def interface_spec(interface: Interface) -> InterfaceSpec:
    """A network interface of the domain."""
    return InterfaceSpec(
        mac=interface.mac,
        bridge=interface.network.bridge,
        guarded=interface.guarded,
        addresses=[interface.address.ip],
        inbound_kibps=interface.inbound_kibps,
        outbound_kibps=interface.outbound_kibps,
    )


def uses_seed(vm: Vm) -> bool:
    """Whether the VM's guest learns who it is from a NoCloud seed."""
    return vm.image is not None and vm.image.customization == Customization.CLOUD_INIT


def guest_identity(vm: Vm, *, password_hash: str, ssh_keys: list[str]) -> GuestIdentity:
    """What the VM's guest is told about itself; the VM has an image and an interface."""
    interface = vm.interfaces.select_related("network", "address").order_by("position")[0]
    network = interface.network
    return GuestIdentity(
        hostname=vm.name,
        login=vm.image.login if vm.image else "root",
        address=interface.address.ip,
        prefix=network.prefix,
        gateway=network.gateway,
        mac=interface.mac,
        nameservers=list(network.nameservers),
        ssh_keys=ssh_keys,
        password_hash=password_hash,
        timezone=vm.cluster.timezone,
    )
