"""vm.delete: nothing of the VM is left, on its node or in the database."""

from __future__ import annotations

from typing import Any

from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import losses
from panel.vms.context import VmContext
from panel.vms.operations.deploying import stop_domain
from panel.vms.operations.removing import delete_seeds, delete_volumes, release_records, see_disks, undefine_domain
from panel.vms.requirements import NOT_ELSEWHERE
from panel.vms.saved import and_discard


class DeleteVmParams(Params):
    """Nothing to choose."""


class DeleteVm(Operation[DeleteVmParams]):
    """Stop the VM and remove its domain, disks, seed and records.

    Goes forward only: parts that are gone already are success, and where a part cannot be removed
    the VM stays known, so that the deletion can be asked for again. Records go last.
    """

    name = "vm.delete"
    label = "Delete"
    requires = (NOT_ELSEWHERE,)
    permission = "vms.delete"
    params = DeleteVmParams
    context = VmContext
    on_failure = "stop"
    cancellable = "queued"
    dangerous = True
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    # No step has an undo: what is deleted cannot come back.
    steps = (
        Step(see_disks, "See whose its disks are"),
        Step(stop_domain, "Stop the VM"),
        Step(undefine_domain, "Remove the domain", describe=lambda ctx: and_discard(ctx, Text("the domain"))),
        Step(delete_volumes, "Delete the disks", weight=2),
        Step(delete_seeds, "Delete the seed"),
        Step(release_records, "Release the address and forget the VM"),
    )

    def losses(self, obj: Any) -> list[Text]:
        """Its disks, snapshots and addresses."""
        return losses.of_vm(obj)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Delete VM {vm}", {"vm": ctx.task.object_name})
