"""The page of a VM's devices: what is there, row by row, each with what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import prefetch_related_objects
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.dns.selectors import NameTold, names_of
from panel.images.selectors import isos_for
from panel.storage.models import Pool
from panel.tasks import registry
from panel.tasks.models import Task
from panel.vms.models import ON, Disk, DiskBus, Interface, PortForward, Vm
from panel.web import buttons, dns
from panel.web.buttons import Button
from panel.web.templatetags.units import BYTES_A_KIB, size

DRIVE = "cdrom sdf"
"""What a comparison with the node calls the drive for ISO images."""


@dataclass(frozen=True)
class Row:
    """A device with its buttons; `waits` when the running guest gets it otherwise at its next start."""

    device: Any
    actions: list[Button]
    limits: list[str] = field(default_factory=list)
    pool: str = ""
    waits: bool = False
    addresses: list[AddressRow] = field(default_factory=list)
    forwards: list[tuple[PortForward, list[Button]]] = field(default_factory=list)


@dataclass(frozen=True)
class AddressRow:
    """An address of an interface; `primary` where it has others of its version.

    `ptr` is its name, where a name server of the panel has names of it.
    """

    ip: str
    primary: bool
    ptr: Mapping[str, Any] | None
    actions: list[Button]


@dataclass(frozen=True)
class Page:
    """What the page shows."""

    disks: list[Row]
    interfaces: list[Row]
    drive: Row
    add_disk: list[Button]
    add_interface: list[Button]


class _Buttons:
    """The buttons of the operations that the viewer may ask for now, each in its place."""

    def __init__(self, viewer: User, vm: Vm, task: Task | None) -> None:
        allowed = registry.for_object("vm", viewer)
        self.operations = {each.verb: each for each in allowed if not each.why_not(vm)}
        self.vm, self.task = vm, task

    def of(self, verb: str, label: str, *, fixed: Mapping[str, str] | None = None, why_not: str = "") -> list[Button]:
        """One button, or none; it asks for what is not `fixed`, and is off where there is a reason."""
        operation = self.operations.get(verb)
        if operation is None:
            return []
        return [buttons.of(operation, self.vm, self.task, label=label, fixed=fixed, why_not=why_not)]


def page(viewer: User, vm: Vm, task: Task | None) -> Page:
    """The VM's devices; nothing can be done with any while a task holds the VM."""
    offered = _Buttons(viewer, vm, task)
    waiting = {each["field"] for each in vm.pending}
    pools = dict(Pool.objects.filter(cluster=vm.cluster_id).values_list("pk", "name"))
    has_isos = vm.iso is not None or isos_for(vm.owner).exists()
    disks, interfaces = list(vm.disks.all()), list(vm.interfaces.all())
    prefetch_related_objects(interfaces, "network__subnets", "security_groups", "port_forwards")
    names = names_of(vm)
    mount = offered.of("mount-iso", _("Change") if vm.iso else _("Mount")) if has_isos else []
    return Page(
        disks=[_disk(offered, vm, disk, disk == disks[0], pools, waiting) for disk in disks],
        interfaces=[_interface(offered, each, waiting, names) for each in interfaces],
        drive=Row(vm.iso, mount + offered.of("eject-iso", _("Eject")), waits=DRIVE in waiting),
        add_disk=offered.of("add-disk", _("Add a disk")),
        add_interface=offered.of("add-interface", _("Add an interface")),
    )


def _disk(offered: _Buttons, vm: Vm, disk: Disk, first: bool, pools: Mapping[int, str], waiting: set[str]) -> Row:
    fixed = {"disk": disk.target}
    stays = _("Shut the VM down first.") if disk.bus == DiskBus.SATA and vm.status in ON else ""
    return Row(
        disk,
        offered.of("grow-disk", _("Grow"), fixed=fixed)
        + offered.of("change-disk", _("Change"), fixed=fixed)
        # The disk that the VM starts from goes with the VM alone.
        + ([] if first else offered.of("remove-disk", _("Remove"), fixed=fixed, why_not=stays)),
        limits=_disk_limits(disk),
        pool=pools.get(disk.volume.pool_id, ""),
        waits=f"disk {disk.target}" in waiting,
    )


def _interface(offered: _Buttons, interface: Interface, waiting: set[str], names: Mapping[str, NameTold]) -> Row:
    fixed = {"interface": interface.mac}
    translated = interface.network.of_kind.translated
    directions = ((_("in"), interface.inbound_kibps), (_("out"), interface.outbound_kibps))
    return Row(
        interface,
        offered.of("add-address", _("Add an address"), fixed=fixed)
        + offered.of("change-interface", _("Change"), fixed=fixed)
        + offered.of("set-security-groups", _("Security groups"), fixed=fixed)
        + (offered.of("add-port-forward", _("Forward a port"), fixed=fixed) if translated else [])
        + offered.of("remove-interface", _("Remove"), fixed=fixed),
        limits=[f"{word} {size(value * BYTES_A_KIB)}/{_('s')}" for word, value in directions if value],
        waits=f"interface {interface.mac}" in waiting,
        addresses=_addresses(offered, interface.ips, names),
        forwards=[
            (
                each,
                offered.of(
                    "remove-port-forward", _("Remove"), fixed={"port": str(each.port), "protocol": each.protocol}
                ),
            )
            for each in interface.port_forwards.all()
        ],
    )


def _addresses(offered: _Buttons, ips: list[str], names: Mapping[str, NameTold]) -> list[AddressRow]:
    versions = [":" in ip for ip in ips]
    return [
        AddressRow(
            ip,
            primary=versions.index(version) == number and versions.count(version) > 1,
            ptr=dns.told(names[ip]) if ip in names else None,
            actions=(offered.of("set-reverse-name", _("Reverse name"), fixed={"address": ip}) if ip in names else [])
            # The last one goes with the interface.
            + (offered.of("remove-address", _("Remove"), fixed={"address": ip}) if len(ips) > 1 else []),
        )
        for number, (ip, version) in enumerate(zip(ips, versions, strict=True))
    ]


def _disk_limits(disk: Disk) -> list[str]:
    told = []
    for word, much, many in (
        (_("read"), disk.read_bytes_sec, disk.read_iops_sec),
        (_("write"), disk.write_bytes_sec, disk.write_iops_sec),
    ):
        values = [f"{size(much)}/{_('s')}"] if much else []
        values += [_("%(count)s requests/s") % {"count": many}] if many else []
        if values:
            told.append(f"{word} {', '.join(values)}")
    return told
