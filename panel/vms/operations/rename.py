"""vm.rename: another name for the VM, its domain and its guest's host."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import Field, field_validator

from nodeagent.protocol import guest, host
from panel.accounts.models import User
from panel.cluster.models import Cluster
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.models import ON, Vm
from panel.vms.operations.configure_guest import change_at_rest
from panel.vms.operations.create import check_name
from panel.vms.requirements import FINISHED, NO_SNAPSHOTS, NOT_ELSEWHERE, NOT_MISSING, SHUT_OFF, undrifted
from panel.vms.services import (
    refuse_taken_name,
)
from panel.vms.status import tell_pages
from panel.vms.usage import note_shape


class RenameVmParams(Params):
    """The new name."""

    name: str = Field(max_length=63, description="Host name: a-z, 0-9 and hyphens.")

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return check_name(value)


def remember_name(ctx: VmContext[RenameVmParams]) -> dict[str, Any]:
    """What the VM is called is in the task; nothing has changed. Not when it was asked for: one ahead may rename it."""
    refuse_drift(ctx.vm, ctx.agent, drift.named("name"))
    return {"before": ctx.vm.name}


def rename_domain(ctx: VmContext[RenameVmParams]) -> None:
    """The domain bears the new name."""
    ctx.agent.call(guest.HostRename(uuid=str(ctx.vm.uuid), name=ctx.params.name))


def rename_domain_back(ctx: VmContext[RenameVmParams]) -> None:
    """The domain bears the name that it had; one that somebody undefined meanwhile, or deleted, bears none.

    One that runs was not renamed, or somebody started it since: it keeps the name that it has.
    """
    if ctx.find_vm() is None:
        return
    state = ctx.agent.call(host.HostInfo(uuid=str(ctx.vm.uuid)))
    if state.exists and state.state not in ON:
        ctx.agent.call(guest.HostRename(uuid=str(ctx.vm.uuid), name=_before(ctx)))


def rename_guest(ctx: VmContext[RenameVmParams]) -> None:
    """The guest's host name will be the new one at its next start; its password and keys stay."""
    change_at_rest(ctx, guest.GuestChange(hostname=ctx.params.name))


def rename_guest_back(ctx: VmContext[RenameVmParams]) -> None:
    """The guest's host name will be the VM's old name."""
    change_at_rest(ctx, guest.GuestChange(hostname=_before(ctx)))


def record_name(ctx: VmContext[RenameVmParams]) -> dict[str, Any]:
    """The VM bears the new name, and its old one is free."""
    _record(ctx, ctx.params.name)
    return {"result": {"name": ctx.params.name}}


def record_old_name(ctx: VmContext[RenameVmParams]) -> None:
    """The VM bears the name that it had; nobody else could take it meanwhile, for this step is the last."""
    _record(ctx, _before(ctx))


def _before(ctx: VmContext[RenameVmParams]) -> str:
    return str(ctx.output(remember_name)["before"])


@transaction.atomic
def _record(ctx: VmContext[RenameVmParams], name: str) -> None:
    # The row that reservations of names hold too.
    Cluster.objects.select_for_update().get(pk=ctx.vm.cluster_id)
    vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
    if vm.name == name:
        return
    refuse_taken_name(vm.cluster, name)
    vm.name = name
    vm.save(update_fields=["name"])
    note_shape(vm.pk)
    transaction.on_commit(lambda: tell_pages([vm]))


class RenameVm(Operation[RenameVmParams]):
    """Give a VM that is shut off another name: its domain's and its guest's host name.

    Off, since libvirt renames no running domain and a guest learns its name when it starts.
    """

    name = "vm.rename"
    label = "Rename"
    requires = (NOT_ELSEWHERE, FINISHED, NOT_MISSING, SHUT_OFF, NO_SNAPSHOTS, undrifted(drift.named("name")))
    placed = True
    permission = "vms.change"
    params = RenameVmParams
    context = VmContext
    locks = (exclusive("vm"), shared("node"))
    # Recorded last: until then the old name is the VM's, so the way back is free at any step.
    steps = (
        # No undo: it changes nothing.
        Step(remember_name, "Look what it is called"),
        Step(rename_domain, "Rename the domain", undo=rename_domain_back),
        Step(rename_guest, "Tell the guest its name", undo=rename_guest_back),
        Step(record_name, "Record the name", undo=record_old_name),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Rename VM {vm} to {name}", {"vm": ctx.task.object_name, "name": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that runs or is missing, and a taken name."""
        if ctx.vm.name != ctx.params.name:
            refuse_taken_name(ctx.vm.cluster, ctx.params.name)
