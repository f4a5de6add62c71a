"""vm.pause, vm.resume, vm.reset: what concerns a running VM's CPUs and asks the guest for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nodeagent.protocol import host
from panel.tasks.operation import Step
from panel.tasks.requirements import Requirement, demand
from panel.vms.context import VmContext
from panel.vms.models import ON, VmStatus
from panel.vms.operations.power import NoParams, PowerOperation
from panel.vms.requirements import NOT_ELSEWHERE, NOT_SUSPENDED, requirement, status_in

OFF = (VmStatus.SHUT_OFF, VmStatus.SAVED, VmStatus.CRASHED)
NOT_KNOWN_OFF = requirement("not known to be off", lambda vm: vm.status not in OFF)


def pause(ctx: VmContext[Any]) -> None:
    """The guest stands still; it keeps its memory."""
    ctx.read_state(host.HostPause(uuid=str(ctx.vm.uuid)))


def resume(ctx: VmContext[Any]) -> None:
    """The guest goes on where it stood still."""
    demand(ctx.look_again(), NOT_ELSEWHERE, NOT_SUSPENDED)
    ctx.read_state(host.HostResume(uuid=str(ctx.vm.uuid)))


def reset(ctx: VmContext[Any]) -> None:
    """The guest begins anew, unasked."""
    demand(ctx.look_again(), NOT_SUSPENDED)
    ctx.read_state(host.HostReset(uuid=str(ctx.vm.uuid)))


class _OnRunning(PowerOperation):
    """What needs a VM that runs."""

    params = NoParams
    rare = True
    requires: ClassVar[Sequence[Requirement]] = (*PowerOperation.requires, NOT_KNOWN_OFF)
    offered = (status_in("on", ON),)


class PauseVm(_OnRunning):
    """Halt the VM's CPUs; it keeps its memory and its place."""

    name = "vm.pause"
    label = "Pause"
    offered = (status_in("running", (VmStatus.RUNNING,), "Only a VM that runs can be paused."),)
    steps = (Step(pause, "Halt the CPUs"),)


class ResumeVm(_OnRunning):
    """Have a paused VM go on."""

    name = "vm.resume"
    label = "Resume"
    requires = (*_OnRunning.requires, NOT_ELSEWHERE)
    offered = (status_in("paused", (VmStatus.PAUSED,), "The VM is not paused."),)
    steps = (Step(resume, "Have the CPUs go on"),)


class ResetVm(_OnRunning):
    """Press the VM's reset button: it begins anew at once, the guest is not asked."""

    name = "vm.reset"
    label = "Reset"
    dangerous = True
    steps = (Step(reset, "Reset the domain"),)
