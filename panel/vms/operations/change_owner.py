"""vm.change-owner: the VM belongs to somebody else."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.core.errors import InvalidValue, WrongState
from panel.core.permissions import allows
from panel.core.wording import Text
from panel.network.models import SecurityGroup
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step
from panel.vms import services
from panel.vms.context import VmContext
from panel.vms.limits import Resources, refuse_over_limits
from panel.vms.models import Vm


class ChangeOwnerParams(Params):
    """Who gets the VM."""

    owner: str = Field(max_length=64, description="Name of a user.")


def give_away(ctx: VmContext[ChangeOwnerParams]) -> dict[str, Any]:
    """The VM and the tasks about it are the new owner's."""
    owner = user_named(ctx.params.owner)
    refuse_another_s_iso(ctx.vm, owner)
    refuse_another_s_groups(ctx.vm, owner)
    services.change_owner(ctx.vm, owner)
    return {"result": {"owner": ctx.params.owner, "before": ctx.vm.owner.name}}


def refuse_owner(owner: User) -> None:
    """Raise InvalidValue for somebody who cannot sign in, or may not have VMs."""
    if not owner.is_active:
        raise InvalidValue("This user is disabled.", field="owner")
    if not allows(owner, "vms.create"):
        raise InvalidValue("This user may not have VMs.", field="owner")


def refuse_another_s_iso(vm: Vm, owner: User) -> None:
    """Raise WrongState while an ISO image lies in the drive that the new owner may not have."""
    if vm.iso is not None and vm.iso.owner_id not in (None, owner.pk):
        raise WrongState(
            "The owner's own ISO image lies in the VM's drive: eject it first.",
            object="vm",
            id=vm.pk,
            state="with an ISO image of its owner's",
            field="owner",
        )


def refuse_another_s_groups(vm: Vm, owner: User) -> None:
    """Raise WrongState while its interfaces have security groups, which the new owner could neither see nor change."""
    groups = SecurityGroup.objects.filter(interfaces__vm=vm).exclude(owner=owner).distinct()
    if names := sorted(groups.values_list("name", flat=True)):
        text = Text("Its interfaces have security groups of its owner's: {groups}.", {"groups": ", ".join(names)})
        raise WrongState(text, object="vm", id=vm.pk, state="with security groups of its owner's", field="owner")


class ChangeOwner(Operation[ChangeOwnerParams]):
    """Give a VM to another user, who sees it and all its tasks from then on; nothing of the guest changes."""

    name = "vm.change-owner"
    label = "Change owner"
    placed = True
    permission = "vms.assign"
    params = ChangeOwnerParams
    context = VmContext
    on_failure = "stop"
    locks = (exclusive("vm"),)
    steps = (Step(give_away, "Record the owner"),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Give VM {vm} to {owner}", {"vm": ctx.task.object_name, "owner": ctx.params.owner})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse somebody who is not there, cannot sign in, may not have VMs, or has no room for this one."""
        owner = user_named(ctx.params.owner)
        refuse_owner(owner)
        if owner.pk != ctx.vm.owner_id:
            refuse_another_s_iso(ctx.vm, owner)
            refuse_another_s_groups(ctx.vm, owner)
            refuse_over_limits(owner, Resources.at_most(ctx.vm))
