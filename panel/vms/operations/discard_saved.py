"""vm.discard-saved: a VM whose memory libvirt keeps is shut off."""

from __future__ import annotations

from typing import Any

from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.vms import saved
from panel.vms.context import VmContext
from panel.vms.models import VmStatus
from panel.vms.operations.power import NoParams
from panel.vms.requirements import status_in


def discard_saved(ctx: VmContext[Any]) -> dict[str, Any]:
    """libvirt keeps no memory of the VM; one that goes on meanwhile has none to be discarded."""
    return {"result": {"discarded": saved.discard(ctx)}}


SAVED = status_in("saved", (VmStatus.SAVED,), "No memory of the VM is saved.")


class DiscardSaved(Operation[NoParams]):
    """Discard the memory that libvirt keeps of a VM (virsh managedsave), so that its next start boots it."""

    name = "vm.discard-saved"
    label = "Discard saved memory"
    requires = (SAVED.when_asked,)
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

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Discard the saved memory of VM {vm}", {"vm": ctx.task.object_name})
