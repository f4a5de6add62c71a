"""The page with the forms for a VM's disks, its drive and its interfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from panel.accounts.models import User
from panel.images.selectors import list_isos
from panel.network.selectors import list_networks
from panel.tasks import registry
from panel.tasks.operation import Operation
from panel.vms.models import DiskBus, DiskCache, Vm

Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class Field:
    """A field of a form: a choice, or a number where there is nothing to choose from."""

    name: str
    label: str
    choices: Choices | None = None


@dataclass(frozen=True)
class Form:
    """A form that asks for an operation."""

    operation: Operation[Any]
    fields: list[Field]


def forms(viewer: User, vm: Vm) -> list[Form]:
    """The forms that make sense for the VM: none to remove what it has only one of."""
    disks = [(disk.target, f"{disk.target}, {disk.volume.size_gib} GiB") for disk in vm.disks.all()]
    interfaces = [(each.mac, f"{each.address.ip}, {each.mac}") for each in vm.interfaces.all()]
    networks = [(each.name, f"{each.name} ({each.subnet})") for each in list_networks(viewer)]
    isos = [(iso.name, iso.title) for iso in list_isos(viewer)]
    size = Field("size_gib", "Size in GiB")
    disk, interface = Field("disk", "Disk", disks), Field("interface", "Interface", interfaces)
    buses: Choices = list(DiskBus.choices)
    caches: Choices = list(DiskCache.choices)
    as_it_is: Choices = [("", "As it is")]
    asked = {
        "vm.add-disk": [size, Field("bus", "Bus", buses), Field("cache", "Cache", caches)],
        "vm.grow-disk": [disk, size],
        "vm.change-disk": [disk, Field("bus", "Bus", as_it_is + buses), Field("cache", "Cache", as_it_is + caches)],
        "vm.remove-disk": [Field("disk", "Disk", disks[1:])],
        "vm.mount-iso": [
            Field("iso", "ISO image", isos),
            Field("boot", "Start from it", [("", "No"), ("true", "Yes, until it is ejected")]),
        ],
        "vm.add-interface": [Field("network", "Network", networks)],
        "vm.change-interface": [interface, Field("network", "Network", networks)],
        "vm.remove-interface": [interface],
    }
    allowed = {each.name: each for each in registry.for_object("vm", viewer) if each.applies(vm)}
    return [
        Form(allowed[name], fields)
        for name, fields in asked.items()
        if name in allowed and all(field.choices is None or field.choices for field in fields)
    ]
