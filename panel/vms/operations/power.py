"""vm.start, vm.stop, vm.force-off, vm.restart: the VM's power.

All go forward only: when the node does not do it the VM is as it was, and what the owner wanted is
remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from pydantic import Field

from nodeagent.protocol import host
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import Requirement, demand
from panel.vms import services, waiting
from panel.vms.context import VmContext
from panel.vms.models import ON, VmStatus, Wanted
from panel.vms.requirements import NOT_ELSEWHERE, NOT_MISSING, NOT_SUSPENDED, status_in

MAYBE_ON = (*ON, VmStatus.UNKNOWN)
OFF = tuple(status for status in VmStatus if status not in ON)


class NoParams(Params):
    """Nothing to choose."""


class ShutdownParams(Params):
    """How patient to be with the guest."""

    timeout_seconds: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="How long the guest may take before it is forced off; none: the setting.",
    )


def want_running(ctx: VmContext[Any]) -> None:
    """The owner wants the VM to run."""
    services.want(ctx.vm, Wanted.RUNNING)


def want_shut_off(ctx: VmContext[Any]) -> None:
    """The owner wants the VM to be off."""
    services.want(ctx.vm, Wanted.SHUT_OFF)


def power_on(ctx: VmContext[Any]) -> None:
    """The domain runs."""
    # Asked again: a copy may have shown itself since the task was queued, or somebody suspended the VM.
    demand(ctx.look_again(), NOT_ELSEWHERE, NOT_SUSPENDED)
    if ctx.vm.status == VmStatus.SAVED:
        ctx.log("Its memory is saved: the guest goes on where it was.")
    from_iso = ctx.vm.boot_iso_once and not ctx.vm.in_rescue
    state = ctx.read_state(host.HostStart(uuid=str(ctx.vm.uuid), from_iso=from_iso))
    if state.from_iso:
        services.started_from_iso(ctx.vm)


def from_what(ctx: VmContext[Any]) -> Text:
    """What the domain starts from, for people, where that is not what its settings say."""
    vm = ctx.vm
    if vm.status == VmStatus.SAVED:
        return Text("from its saved memory: the guest goes on where it was")
    if vm.iso is not None and vm.boot_iso_once and not vm.in_rescue:
        return Text("from “{image}”, this once", {"image": vm.iso.name})
    return Text("from what its settings say")


def shut_down(ctx: VmContext[ShutdownParams]) -> dict[str, Any]:
    """The domain is off: the guest obeyed in time, or was forced."""
    limit = ctx.params.timeout_seconds
    if limit is None:
        limit = settings.CONFIG.shutdown_seconds
    return {"result": {"forced": waiting.shut_down(ctx, float(limit))}}


def force_off(ctx: VmContext[Any]) -> None:
    """The domain is off, at once."""
    ctx.read_state(host.HostStop(uuid=str(ctx.vm.uuid)))


class PowerOperation(Operation[Any]):
    """What all of them have in common."""

    permission = "vms.power"
    context = VmContext
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))
    requires: ClassVar[Sequence[Requirement]] = (NOT_SUSPENDED, NOT_MISSING)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action} VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})


class StartVm(PowerOperation):
    """Start a VM that is off, or have one whose memory is saved go on; one that runs is left as it is."""

    name = "vm.start"
    label = "Start"
    requires = (NOT_SUSPENDED, NOT_ELSEWHERE, NOT_MISSING)
    offered = (status_in("off", OFF, "The VM runs already."),)
    params = NoParams
    steps = (
        Step(want_running, "Remember that it shall run"),
        Step(power_on, "Start the domain", describe=from_what),
    )


class StopVm(PowerOperation):
    """Ask the guest to shut down, and force it off when it does not in time."""

    name = "vm.stop"
    label = "Shut down"
    offered = (status_in("on", MAYBE_ON, "The VM is off."),)
    params = ShutdownParams
    steps = (
        Step(want_shut_off, "Remember that it shall be off"),
        Step(shut_down, "Shut the guest down"),
    )


class ForceOffVm(PowerOperation):
    """Cut the VM's power at once, also while a shutdown waits for the guest."""

    name = "vm.force-off"
    label = "Force off"
    offered = (status_in("on", (*MAYBE_ON, VmStatus.CRASHED), "The VM is off."),)
    params = NoParams
    dangerous = True
    supersedes = ("vm.stop", "vm.restart")
    steps = (
        Step(want_shut_off, "Remember that it shall be off"),
        Step(force_off, "Force the domain off"),
    )


class RestartVm(PowerOperation):
    """Shut the guest down (forced off when it does not obey in time) and start it again."""

    name = "vm.restart"
    label = "Restart"
    requires = (NOT_SUSPENDED, NOT_ELSEWHERE, NOT_MISSING)
    offered = (status_in("on", ON, "Only a VM that runs can be restarted."),)
    params = ShutdownParams
    steps = (
        Step(want_running, "Remember that it shall run"),
        Step(shut_down, "Shut the guest down", weight=5),
        Step(power_on, "Start the domain", describe=from_what),
    )
