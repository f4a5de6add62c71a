"""The page of a VM's devices: what is there, row by row, each with what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import prefetch_related_objects

from panel.accounts.models import User
from panel.core import permissions
from panel.images.selectors import isos_for
from panel.network.selectors import list_networks
from panel.storage.models import Pool
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.models import Task
from panel.vms.models import ON, Disk, DiskBus, Interface, Vm
from panel.web.templatetags.units import size

DISK_LIMITS = ("read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")
ONLY_OPERATORS = (*DISK_LIMITS, "guarded", "mac", "inbound_kibps", "outbound_kibps")
"""Parameters that limit and filter a customer, who cannot set them."""
DRIVE = "cdrom sdf"
"""What a comparison with the node calls the drive for ISO images."""
MOST_ISOS = 500
"""In a choice."""


@dataclass(frozen=True)
class Row:
    """A device with its buttons; `waits` when the running guest gets it otherwise at its next start."""

    device: Any
    actions: list[dict[str, Any]]
    limits: list[str] = field(default_factory=list)
    pool: str = ""
    waits: bool = False


@dataclass(frozen=True)
class Page:
    """What the page shows."""

    disks: list[Row]
    interfaces: list[Row]
    drive: Row
    add_disk: list[dict[str, Any]]
    add_interface: list[dict[str, Any]]


class Buttons:
    """The buttons of the operations that the viewer may ask for now, each in its place."""

    def __init__(self, viewer: User, vm: Vm, task: Task | None) -> None:
        allowed = registry.for_object("vm", viewer)
        self.operations = {each.verb: each for each in allowed if not each.why_not(vm)}
        self.free = task is None
        self.operator = permissions.allows(viewer, "cluster.manage")

    def of(
        self,
        verb: str,
        label: str,
        *,
        fixed: Mapping[str, str] | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        initial: Mapping[str, Any] | None = None,
        on: bool = True,
    ) -> list[dict[str, Any]]:
        """One button, or none; it asks for what is not `fixed`, by `choices` where there are some."""
        operation = self.operations.get(verb)
        if operation is None:
            return []
        form = self._form(operation, fixed or {}, choices or {}, initial or {})
        button = {
            "operation": operation,
            "warning": operation.warning,
            "label": label,
            "on": self.free and on,
            "form": form,
        }
        return [{**button, "fixed": json.dumps(dict(fixed)) if fixed else ""}]

    def _form(
        self,
        operation: Declaration[Any],
        fixed: Mapping[str, str],
        choices: Mapping[str, Sequence[str]],
        initial: Mapping[str, Any],
    ) -> str:
        schema = operation.params.model_json_schema()
        hidden = {*fixed, *(() if self.operator else ONLY_OPERATORS)}
        asked = {
            name: {**_resolved(each, schema), **({"enum": list(choices[name])} if name in choices else {})}
            for name, each in schema.get("properties", {}).items()
            if name not in hidden
        }
        if not asked:
            return ""
        required = [name for name in schema.get("required", []) if name in asked]
        shown = {name: value for name, value in initial.items() if name in asked}
        return json.dumps({"schema": {"properties": asked, "required": required}, "initial": shown})


def page(viewer: User, vm: Vm, task: Task | None) -> Page:
    """The VM's devices; nothing can be done with any while a task holds the VM."""
    buttons = Buttons(viewer, vm, task)
    waiting = {each["field"] for each in vm.pending}
    pools = dict(Pool.objects.filter(cluster=vm.cluster_id).values_list("pk", "name"))
    networks = [each.name for each in list_networks(viewer)]
    isos = list(dict.fromkeys(isos_for(vm.owner).values_list("name", flat=True)[:MOST_ISOS]))
    disks, interfaces = list(vm.disks.all()), list(vm.interfaces.all())
    prefetch_related_objects(interfaces, "network__subnets")
    return Page(
        disks=[_disk(buttons, vm, disk, disk == disks[0], pools, waiting) for disk in disks],
        interfaces=[_interface(buttons, each, networks, waiting) for each in interfaces],
        drive=Row(
            vm.iso,
            (buttons.of("mount-iso", "Change" if vm.iso else "Mount", choices={"iso": isos}) if isos else [])
            + buttons.of("eject-iso", "Eject"),
            waits=DRIVE in waiting,
        ),
        add_disk=buttons.of("add-disk", "Add disk", choices={"pool": list(pools.values())}),
        add_interface=buttons.of("add-interface", "Add interface", choices={"network": networks}),
    )


def _disk(buttons: Buttons, vm: Vm, disk: Disk, first: bool, pools: Mapping[int, str], waiting: set[str]) -> Row:
    fixed = {"disk": disk.target}
    now = {name: getattr(disk, name) for name in ("bus", "cache", *DISK_LIMITS)}
    stays = disk.bus == DiskBus.SATA and vm.status in ON
    return Row(
        disk,
        buttons.of("grow-disk", "Grow", fixed=fixed, initial={"size_gib": disk.volume.size_gib})
        + buttons.of("change-disk", "Change", fixed=fixed, initial=now)
        # The disk that the VM starts from goes with the VM alone.
        + ([] if first else buttons.of("remove-disk", "Remove", fixed=fixed, on=not stays)),
        limits=_disk_limits(disk),
        pool=pools.get(disk.volume.pool_id, ""),
        waits=f"disk {disk.target}" in waiting,
    )


def _interface(buttons: Buttons, interface: Interface, networks: Sequence[str], waiting: set[str]) -> Row:
    fixed = {"interface": interface.mac}
    now = {
        "guarded": "yes" if interface.guarded else "no",
        "inbound_kibps": interface.inbound_kibps,
        "outbound_kibps": interface.outbound_kibps,
    }
    limits = [
        f"{word} {value} KiB/s"
        for word, value in (("in", interface.inbound_kibps), ("out", interface.outbound_kibps))
        if value
    ]
    return Row(
        interface,
        buttons.of("change-interface", "Change", fixed=fixed, choices={"network": networks}, initial=now)
        + buttons.of("remove-interface", "Remove", fixed=fixed),
        limits=limits,
        waits=f"interface {interface.mac}" in waiting,
    )


def _disk_limits(disk: Disk) -> list[str]:
    told = []
    for word, much, many in (
        ("read", disk.read_bytes_sec, disk.read_iops_sec),
        ("write", disk.write_bytes_sec, disk.write_iops_sec),
    ):
        values = [f"{size(much)}/s"] if much else []
        values += [f"{many} requests/s"] if many else []
        if values:
            told.append(f"{word} {', '.join(values)}")
    return told


def _resolved(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A property with what it refers to in its place: scripts know no references."""
    kinds = [found, *found.get("anyOf", []), *found.get("allOf", [])]
    values = {}
    for kind in kinds:
        if "$ref" in kind:
            values = schema["$defs"][kind["$ref"].rpartition("/")[2]]
    return {**found, **({"enum": values["enum"]} if "enum" in values else {})}
