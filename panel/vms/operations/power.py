"""vm.start, vm.stop, vm.force-off, vm.restart: the VM's power.

All go forward only: when the node does not do it the VM is as it was, and what the owner wanted is
remembered.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from pydantic import Field

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.core.errors import WrongState
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import services, waiting
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus, Wanted

ON = (VmStatus.RUNNING, VmStatus.PAUSED)


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
    services.refuse_seen_elsewhere(ctx.look_again())
    services.refuse_suspended(ctx.vm)
    if ctx.vm.status == VmStatus.SAVED:
        ctx.log("Its memory is saved: the guest goes on where it was.")
    from_iso = ctx.vm.boot_iso_once and not ctx.vm.in_rescue
    state = ctx.read_state(host.HostStart(uuid=str(ctx.vm.uuid), from_iso=from_iso))
    if state.from_iso:
        services.started_from_iso(ctx.vm)


def from_what(ctx: VmContext[Any]) -> str:
    """What the domain starts from, for people, where that is not what its settings say."""
    vm = ctx.vm
    if vm.status == VmStatus.SAVED:
        return "from its saved memory: the guest goes on where it was"
    if vm.iso is not None and vm.boot_iso_once and not vm.in_rescue:
        return f"from “{vm.iso.name}”, this once"
    return "from what its settings say"


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
    starts: ClassVar[bool] = False
    """Whether the domain runs afterwards, which a copy of it elsewhere forbids."""

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"{self.label} VM {ctx.task.object_name}"

    def applies(self, obj: Vm) -> bool:
        """A suspended VM's power is the suspension's."""
        return not obj.suspended

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM whose domain is gone or that is suspended; asking for a state that is there is success."""
        services.refuse_suspended(ctx.vm)
        if self.starts:
            services.refuse_seen_elsewhere(ctx.vm)
        if ctx.vm.status == VmStatus.MISSING:
            raise WrongState(object="vm", id=ctx.vm.pk, state="missing on its node", field="id")


class StartVm(PowerOperation):
    """Start a VM that is off, or have one whose memory is saved go on; one that runs is left as it is."""

    name = "vm.start"
    label = "Start"
    starts = True
    params = NoParams
    steps = (
        Step(want_running, "Remember that it shall run"),
        Step(power_on, "Start the domain", describe=from_what),
    )

    def applies(self, obj: Vm) -> bool:
        """A missing VM has no domain to start."""
        return super().applies(obj) and obj.status not in (*ON, VmStatus.MISSING)


class StopVm(PowerOperation):
    """Ask the guest to shut down, and force it off when it does not in time."""

    name = "vm.stop"
    label = "Shut down"
    params = ShutdownParams
    steps = (
        Step(want_shut_off, "Remember that it shall be off"),
        Step(shut_down, "Shut the guest down"),
    )

    def applies(self, obj: Vm) -> bool:
        """There is something to shut down, or we cannot know."""
        return super().applies(obj) and obj.status in (*ON, VmStatus.UNKNOWN)


class ForceOffVm(PowerOperation):
    """Cut the VM's power at once, also while a shutdown waits for the guest."""

    name = "vm.force-off"
    label = "Force off"
    params = NoParams
    dangerous = True
    supersedes = ("vm.stop", "vm.restart")
    steps = (
        Step(want_shut_off, "Remember that it shall be off"),
        Step(force_off, "Force the domain off"),
    )

    def applies(self, obj: Vm) -> bool:
        """There is something to force off, or we cannot know."""
        return super().applies(obj) and obj.status in (*ON, VmStatus.CRASHED, VmStatus.UNKNOWN)


class RestartVm(PowerOperation):
    """Shut the guest down (forced off when it does not obey in time) and start it again."""

    name = "vm.restart"
    label = "Restart"
    starts = True
    params = ShutdownParams
    steps = (
        Step(want_running, "Remember that it shall run"),
        Step(shut_down, "Shut the guest down", weight=5),
        Step(power_on, "Start the domain", describe=from_what),
    )

    def applies(self, obj: Vm) -> bool:
        """Only what runs can be restarted."""
        return super().applies(obj) and obj.status in ON
