"""vm.discard-saved: a VM whose memory libvirt keeps is shut off."""

from __future__ import annotations

from typing import Any

from panel.accounts.models import User
from panel.core.errors import WrongState
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.vms import saved
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus
from panel.vms.operations.power import NoParams


def discard_saved(ctx: VmContext[Any]) -> dict[str, Any]:
    """libvirt keeps no memory of the VM; one that goes on meanwhile has none to be discarded."""
    return {"result": {"discarded": saved.discard(ctx)}}


class DiscardSaved(Operation[NoParams]):
    """Discard the memory that libvirt keeps of a VM (virsh managedsave), so that its next start boots it."""

    name = "vm.discard-saved"
    label = "Discard saved memory"
    permission = "vms.power"
    params = NoParams
    context = VmContext
    rare = True
    dangerous = True
    warning = saved.LOST
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))
    # No undo: what was discarded cannot come back.
    steps = (Step(discard_saved, "Discard the saved memory"),)

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Discard the saved memory of VM {ctx.task.object_name}"

    def applies(self, obj: Vm) -> bool:
        """There is one."""
        return obj.status == VmStatus.SAVED

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM of which no memory is saved."""
        if ctx.vm.status != VmStatus.SAVED:
            raise WrongState(
                "No memory of the VM is saved.", object="vm", id=ctx.vm.pk, state=ctx.vm.status, field="id"
            )
