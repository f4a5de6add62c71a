"""vm.pause, vm.resume, vm.reset: what concerns a running VM's CPUs and asks the guest for nothing."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.core.errors import WrongState
from panel.tasks.operation import Step
from panel.vms import services
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus
from panel.vms.operations.power import ON, NoParams, PowerOperation

OFF = (VmStatus.SHUT_OFF, VmStatus.SAVED, VmStatus.CRASHED)


def pause(ctx: VmContext[Any]) -> None:
    """The guest stands still; it keeps its memory."""
    ctx.read_state(host.HostPause(uuid=str(ctx.vm.uuid)))


def resume(ctx: VmContext[Any]) -> None:
    """The guest goes on where it stood still."""
    services.refuse_seen_elsewhere(ctx.vm)
    services.refuse_suspended(ctx.vm)
    ctx.read_state(host.HostResume(uuid=str(ctx.vm.uuid)))


def reset(ctx: VmContext[Any]) -> None:
    """The guest begins anew, unasked."""
    services.refuse_suspended(ctx.vm)
    ctx.read_state(host.HostReset(uuid=str(ctx.vm.uuid)))


class _OnRunning(PowerOperation):
    """What needs a VM that runs."""

    params = NoParams
    rare = True

    def applies(self, obj: Vm) -> bool:
        """There is a guest."""
        return super().applies(obj) and obj.status in ON

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that is known to be off."""
        super().check(ctx, viewer)
        if ctx.vm.status in OFF:
            raise WrongState(object="vm", id=ctx.vm.pk, state=ctx.vm.status, field="id")


class PauseVm(_OnRunning):
    """Halt the VM's CPUs; it keeps its memory and its place."""

    name = "vm.pause"
    label = "Pause"
    steps = (Step(pause, "Halt the CPUs"),)

    def applies(self, obj: Vm) -> bool:
        """It is not halted yet."""
        return super().applies(obj) and obj.status == VmStatus.RUNNING


class ResumeVm(_OnRunning):
    """Have a paused VM go on."""

    name = "vm.resume"
    label = "Resume"
    starts = True
    steps = (Step(resume, "Have the CPUs go on"),)

    def applies(self, obj: Vm) -> bool:
        """It is halted."""
        return super().applies(obj) and obj.status == VmStatus.PAUSED


class ResetVm(_OnRunning):
    """Press the VM's reset button: it begins anew at once, the guest is not asked."""

    name = "vm.reset"
    label = "Reset"
    dangerous = True
    steps = (Step(reset, "Reset the domain"),)
