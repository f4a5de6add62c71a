"""A VM's rows as the domain that the node shall have."""

from __future__ import annotations

import copy
import ipaddress
from dataclasses import replace
from typing import Any, TypeVar

from nodeagent.protocol.host import DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.protocol.identity import GuestAddress, GuestIdentity, GuestInterface, GuestNetwork
from nodeagent.protocol.settings import MachineSettings
from nodeagent.protocol.storage import VolumeRef
from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.images.models import Customization, Image
from panel.network.models import Network
from panel.tasks.models import StepStatus, TaskStep
from panel.vms.forwarding import on_node
from panel.vms.limits import OVER
from panel.vms.models import AuxiliaryDisk, Disk, Interface, Purpose, Vm
from panel.vms.security import GROUPS, security_of

M = TypeVar("M", Vm, Disk, Interface)


def domain_spec(vm: Vm) -> DomainSpec:
    """The domain that a node shall have of the VM now; in rescue mode it boots the rescue system."""
    return rows_spec(due(vm))


def own_spec(vm: Vm) -> DomainSpec:
    """The same of a VM that boots its own system, whatever mode it is in."""
    return _spec(due(vm), None)


def rescue_spec(vm: Vm, rescue: AuxiliaryDisk) -> DomainSpec:
    """The same of a VM that boots this rescue system, whatever mode it is in."""
    return _spec(due(vm), rescue)


def rows_spec(vm: Vm) -> DomainSpec:
    """The domain of exactly these values, also of changes whose turn has not come; the VM's row need not have them."""
    auxiliary_disks = vm.auxiliary_disks.filter(purpose=Purpose.RESCUE).select_related(
        "volume__pool", "image", "vm__pool"
    )
    return _spec(vm, auxiliary_disks.first())


def due(vm: Vm) -> Vm:
    """The VM without what waiting vm.configure tasks wrote into its row when they were asked for; nothing is saved.

    What a task ahead of them described to the node with their values would stay there if they were cancelled.
    """
    waiting = TaskStep.objects.filter(
        name="configure_domain",
        status=StepStatus.PENDING,
        task__operation="vm.configure",
        task__object_type="vm",
        task__object_id=vm.pk,
    ).exclude(task__status__in=OVER)
    written = TaskStep.objects.filter(name="write_settings", task__in=waiting.values("task")).order_by("-task_id")
    values: dict[str, Any] = {}
    for output in written.values_list("output", flat=True):
        values |= output["before"]
    return with_values(vm, values)


def with_values(row: M, values: dict[str, Any]) -> M:
    """The VM, or a device of one, as it would be with other values; nothing is saved."""
    other = copy.copy(row)
    for name, value in values.items():
        setattr(other, name, value)
    return other


def _spec(vm: Vm, rescue: AuxiliaryDisk | None) -> DomainSpec:
    own = [disk_spec(disk) for disk in vm.disks.filter(attached=True).select_related("volume__pool")]
    interfaces = [
        interface_spec(interface)
        for interface in vm.interfaces.filter(attached=True)
        .select_related("network__cluster")
        .prefetch_related(GROUPS, "port_forwards")
        .with_ips()
    ]
    return spec_with(
        vm,
        disks=own if rescue is None else rescue_disks(rescue, own),
        interfaces=interfaces,
        cdroms=_seeds(vm, rescue),
        boot_iso=vm.boot_iso and rescue is None,
    )


def spec_with(
    vm: Vm, *, disks: list[DiskSpec], interfaces: list[InterfaceSpec], cdroms: list[VolumeRef], boot_iso: bool = False
) -> DomainSpec:
    """The domain of a VM with these devices; the VM need not be saved."""
    return DomainSpec(
        uuid=str(vm.uuid),
        name=vm.name,
        memory_mib=vm.memory_mib,
        vcpus=vm.vcpus,
        virt=vm.node.accel,
        disks=disks,
        interfaces=interfaces,
        cdroms=cdroms,
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
        iso=vm.iso_ref,
        boot_iso=boot_iso,
        # An installer that reboots has come to its end as much as one that powers off (monitoring/installing.py).
        ends_at_reboot=boot_iso and vm.installing,
    )


def disk_spec(disk: Disk) -> DiskSpec:
    """A disk of the domain."""
    return DiskSpec(
        volume=disk.volume.ref,
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
        addresses=interface.ips,
        inbound_kibps=interface.inbound_kibps,
        outbound_kibps=interface.outbound_kibps,
        security=security_of(interface),
        forwards=on_node(interface.port_forwards.all()) if interface.network.of_kind.translated else [],
    )


RESCUE_TARGET = "vda"


def rescue_disks(rescue: AuxiliaryDisk, own: list[DiskSpec]) -> list[DiskSpec]:
    """The rescue system's disk, which the VM boots, and the VM's own behind it, each a letter further."""
    volume = rescue.volume
    first = DiskSpec(volume=volume.ref, format=volume.format, target=RESCUE_TARGET)
    return [first, *[replace(disk, target=_further(disk.target)) for disk in own]]


def _further(target: str) -> str:
    # Only virtio's names meet that of the rescue system.
    return f"vd{chr(ord(target[2]) + 1)}" if target.startswith("vd") else target


def _seeds(vm: Vm, rescue: AuxiliaryDisk | None) -> list[VolumeRef]:
    if rescue is not None:
        return [rescue.seed_ref] if takes_seed(rescue.image) else []
    return [vm.seed_ref] if uses_seed(vm) else []


def uses_seed(vm: Vm) -> bool:
    """Whether the VM's guest learns who it is from a NoCloud seed."""
    return takes_seed(vm.image)


def takes_seed(image: Image | None) -> bool:
    """Whether guests of the image learn who they are from a NoCloud seed."""
    return image is not None and image.customization == Customization.CLOUD_INIT


def first_interface(vm: Vm) -> Interface:
    """The interface that the VM's guest is reached by, its first with an address; raises WrongState for none."""
    return _told_interfaces(vm)[0]


def _told_interfaces(vm: Vm) -> list[Interface]:
    """The interfaces that a guest is told of: all with an address; raises WrongState where there is none.

    One that is just being removed is none of them.
    """
    found = list(vm.interfaces.filter(attached=True).select_related("network").with_ips().order_by("position"))
    told = [each for each in found if each.ips]
    if not found:
        text = Text("The VM has no network interface: a new system could be told of no address. Add one first.")
        raise WrongState(text, object="vm", id=vm.pk, state="without interface", field="id")
    if not told:
        text = Text(
            "The network interface {mac} has no address: a new system could be told of none.", {"mac": found[0].mac}
        )
        raise WrongState(text, object="vm", id=vm.pk, state="without address", field="id")
    return told


def guest_network(vm: Vm) -> GuestNetwork:
    """What the VM's guest is told of its interfaces; raises WrongState as first_interface()."""
    first, *others = [guest_interface(each) for each in _told_interfaces(vm)]
    primary, *further = first.addresses
    return GuestNetwork(
        mac=first.mac,
        **vars(primary),
        nameservers=first.nameservers,
        further=further,
        mtu=first.mtu,
        interfaces=others,
    )


def guest_interface(interface: Interface) -> GuestInterface:
    """What a guest is to be told of the interface."""
    network = interface.network
    addresses = [guest_address(network, ip) for ip in interface.ips]
    return GuestInterface(interface.mac, addresses, list(network.nameservers), network.of_kind.mtu(network.options))


def guest_address(network: Network, ip: str) -> GuestAddress:
    """The address with its subnet's prefix and gateway; one of no subnet is alone."""
    if (subnet := network.subnet_with(ip)) is None:
        return GuestAddress(ip, ipaddress.ip_address(ip).max_prefixlen)
    prefix = subnet.parsed.max_prefixlen if network.of_kind.alone_in_prefix else subnet.prefix
    return GuestAddress(ip, prefix, subnet.gateway or "")


def reached_by(vm: Vm) -> str:
    """The address that the VM's guest is reached by; raises WrongState as guest_network()."""
    return guest_network(vm).address


def guest_identity(vm: Vm, login: str, *, password_hash: str, ssh_keys: list[str]) -> GuestIdentity:
    """What the VM's guest is told about itself; raises WrongState as first_interface()."""
    return GuestIdentity(
        hostname=vm.name,
        login=login,
        **vars(guest_network(vm)),
        ssh_keys=ssh_keys,
        password_hash=password_hash,
        timezone=vm.cluster.timezone,
    )
