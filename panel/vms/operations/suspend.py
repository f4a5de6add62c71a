"""vm.suspend, vm.unsuspend, vm.keep-off: a VM that an administrator, or billing, keeps off.

Suspension stands in the VM's row from the moment that it was asked for: everything that would start
the VM is refused, and what starts it nevertheless is undone (monitoring/suspending.py). What the
owner wanted is not touched, so the VM is afterwards as it was wanted before.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone
from pydantic import Field

from nodeagent.protocol import host
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.vms.context import VmContext
from panel.vms.models import ON, Vm, Wanted
from panel.vms.operations.autostart import set_autostart
from panel.vms.operations.power import NoParams, ShutdownParams, power_on, shut_down
from panel.vms.requirements import NOT_ELSEWHERE, NOT_MISSING, SUSPENDED, requirement, status_in
from panel.vms.status import tell_pages
from panel.vms.usage import note_size


def shall_run(vm: Vm) -> bool:
    """Whether its owner wants it to run."""
    return vm.wanted == Wanted.RUNNING


class SuspendParams(ShutdownParams):
    """Why, and how patient to be with the guest."""

    reason: str = Field(default="", max_length=200, description="What the owner is told.")


def record_suspension(ctx: VmContext[SuspendParams]) -> None:
    """Nothing starts the VM any more. A suspended one keeps its date, and its reason where none is given."""
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        vm.suspended_at = vm.suspended_at or timezone.now()
        vm.suspension_reason = ctx.params.reason or vm.suspension_reason
        vm.save(update_fields=["suspended_at", "suspension_reason"])
        note_size(vm.pk)
        transaction.on_commit(lambda: tell_pages([vm]))


def end_suspension(ctx: VmContext[Any]) -> None:
    """The VM may run again."""
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        vm.suspended_at, vm.suspension_reason = None, ""
        vm.save(update_fields=["suspended_at", "suspension_reason"])
        note_size(vm.pk)
        transaction.on_commit(lambda: tell_pages([vm]))


def start_if_wanted(ctx: VmContext[Any]) -> None:
    """The VM runs, if its owner wants it to."""
    if ctx.vm.wanted == Wanted.RUNNING:
        power_on(ctx)


def force_off_suspended(ctx: VmContext[Any]) -> None:
    """The domain is off; left alone if the suspension has ended meanwhile."""
    if Vm.objects.get(pk=ctx.vm.pk).suspended:
        ctx.read_state(host.HostStop(uuid=str(ctx.vm.uuid)))


class _Suspension(Operation[Any]):
    """What the three have in common."""

    permission = "vms.suspend"
    context = VmContext
    rare = True
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action} VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})


class SuspendVm(_Suspension):
    """Shut the VM down and keep it off, whatever its owner, its node or virsh does."""

    name = "vm.suspend"
    label = "Suspend"
    offered = (requirement("not suspended", lambda vm: not vm.suspended, "suspended already"),)
    params = SuspendParams
    asks = True
    dangerous = True
    # The VM would be forced off by the next full report anyway: cancelling would only look as if it helped.
    cancellable = "never"
    supersedes = ("vm.stop", "vm.restart")
    steps = (
        Step(record_suspension, "Remember that it is suspended", inline=True),
        Step(set_autostart, "Have it not start with its node"),
        Step(shut_down, "Shut the guest down", weight=5),
    )


class UnsuspendVm(_Suspension):
    """End a suspension: the VM runs again if its owner wants it to."""

    name = "vm.unsuspend"
    label = "Unsuspend"
    requires = (NOT_ELSEWHERE.where(shall_run), NOT_MISSING.where(shall_run))
    offered = (SUSPENDED,)
    params = NoParams
    steps = (
        Step(end_suspension, "Remember that it is not suspended any more", inline=True),
        Step(set_autostart, "Have it start with its node as before"),
        Step(start_if_wanted, "Start it, if it shall run"),
    )


class KeepOffVm(_Suspension):
    """Force a suspended VM off that somebody started behind the panel's back.

    The panel asks for it itself.
    """

    name = "vm.keep-off"
    label = "Keep off"
    requires = (SUSPENDED.when_asked,)
    offered = (status_in("on", ON),)
    params = NoParams
    steps = (Step(force_off_suspended, "Force the domain off"),)
