"""What the operations on a VM's disks, drives and interfaces have in common.

An operation changes its own device in the domain's description and leaves all else of it as it is (drift.py); a row
that is not `attached` is not in it. A device is plugged in after its description, and unplugged before it: where a
guest does not let go of one, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from nodeagent.protocol import devices
from nodeagent.protocol.host import DiskSpec, InterfaceSpec
from panel.core.errors import CapacityError, CommandFailed, NotFound
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation
from panel.tasks.requirements import Requirement
from panel.tasks.reservations import claimed
from panel.vms import drift
from panel.vms.context import VmContext
from panel.vms.machine import MachineType
from panel.vms.models import ON, Disk, DiskBus, Interface, Vm
from panel.vms.requirements import NOT_ELSEWHERE, NOT_IN_RESCUE, NOT_MISSING
from panel.vms.spec import domain_spec

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DRIVES = ("sda", "sdb", "sdf")
"""The names of CD-ROM drives (nodeagent/xml/describe.py)."""
GIB = 1024**3
UNPLUG_SECONDS = 90.0
SLOTS = 11
"""A q35 machine is started with sixteen slots (nodeagent/xml/describe.py), of which five are always in use."""
T = TypeVar("T")
TARGET = "target:"
"""How reservations name the guest's name of a disk."""


class DeviceOperation(Operation[Any]):
    """Base of the operations on a VM's devices."""

    permission = "vms.devices"
    context = VmContext
    placed = True
    requires: ClassVar[Sequence[Requirement]] = (NOT_ELSEWHERE, NOT_IN_RESCUE, NOT_MISSING)
    locks = (exclusive("vm"), shared("node"), shared("pool"))

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action}: VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})


def describe_disk(ctx: VmContext[Any], now: DiskSpec | None, before: DiskSpec | None) -> None:
    """The description has the disk as it is `now`, as its row says (none: not at all), and all else of it as it was."""
    spec = domain_spec(ctx.vm)
    drift.define(ctx, spec, replace(spec, disks=_instead(spec.disks, now, before)))


def describe_interface(ctx: VmContext[Any], now: InterfaceSpec | None, before: InterfaceSpec | None) -> None:
    """The same of an interface; anti-spoofing filters are those of the rows."""
    spec = domain_spec(ctx.vm)
    drift.define(ctx, spec, replace(spec, interfaces=_instead(spec.interfaces, now, before)))


def _instead(devices: list[T], now: T | None, before: T | None) -> list[T]:
    """The devices as they were: with `before` in the place of `now`, where that has one."""
    given = [] if before is None else [before]
    if now is None:
        return [*[each for each in devices if each != before], *given]
    return [each for device in devices for each in (given if device == now else [device])]


def unplug(ctx: VmContext[Any], request: devices.DiskDetach | devices.InterfaceDetach) -> None:
    """The running guest does not have the device; a domain that somebody undefined has none."""
    try:
        ctx.agent.call(request, deadline=UNPLUG_SECONDS)
    except CommandFailed as error:
        if error.data.get("agent_code") != "no_such_domain":
            raise


def make_live(
    ctx: VmContext[Any],
    request: devices.DiskLimit | devices.InterfaceAttach | devices.InterfaceChange | devices.CdromChange,
) -> devices.DeviceState:
    """The running guest has the device so; on the way back a domain that is gone has nothing to give back."""
    try:
        return ctx.agent.call(request)
    except CommandFailed as error:
        if not ctx.undoing or error.data.get("agent_code") != "no_such_domain":
            raise
        return devices.DeviceState(running=False, live=False)


def told(state: devices.DeviceState, **result: Any) -> dict[str, Any]:
    """A step's output that says whether the guest has it already."""
    return {"result": {"at_next_start": state.running and not state.live, **result}}


def disk_of(vm: Vm, target: str) -> Disk:
    """The VM's disk of this name; raises NotFound."""
    disk = vm.disks.select_related("volume__pool").filter(target=target).first()
    if disk is None:
        raise NotFound(Text("The VM has no disk “{disk}”.", {"disk": target}), object="disk", id=target, field="disk")
    return disk


def interface_of(vm: Vm, mac: str) -> Interface:
    """The VM's interface with this MAC address; raises NotFound."""
    found = vm.interfaces.select_related("network").with_ips().filter(mac=mac.lower()).first()
    if found is None:
        raise NotFound(
            Text("The VM has no interface “{mac}”.", {"mac": mac}), object="interface", id=mac, field="interface"
        )
    return found


def free_target(vm: Vm, bus: str) -> str:
    """The first name that a new disk on this bus may have; raises CapacityError."""
    by_hand = {each["field"].removeprefix("disk ") for each in vm.drift if drift.any_disk(each)}
    taken = {*DRIVES, *vm.disks.values_list("target", flat=True), *_promised_targets(vm), *by_hand}
    prefix = "vd" if bus == DiskBus.VIRTIO else "sd"
    for letter in LETTERS:
        if prefix + letter not in taken:
            return prefix + letter
    raise CapacityError("The VM has as many disks on this bus as it can have.", field="bus", candidates={})


def promise_targets(ctx: VmContext[Any], *targets: str) -> None:
    """Have no other disk get these names while the task may give them, or give them back."""
    ctx.reserve("vm", ctx.vm.pk, **{TARGET + each: 1 for each in targets})


def _promised_targets(vm: Vm) -> Iterator[str]:
    """The names that changes of disks which were asked for may give them, or give them back."""
    yield from (each.removeprefix(TARGET) for each in claimed("vm", vm.pk, TARGET))


def refuse_no_slot(vm: Vm) -> None:
    """Raise CapacityError when nothing more can be plugged into the running VM; one that is off gets what it needs."""
    if vm.status not in ON or vm.machine != MachineType.Q35:
        return
    if vm.disks.filter(bus=DiskBus.VIRTIO).count() + vm.interfaces.count() >= SLOTS:
        text = Text(
            "A running VM takes at most {most} virtio disks and interfaces. Shut it down to add more.", {"most": SLOTS}
        )
        raise CapacityError(text, field="id", candidates={})
