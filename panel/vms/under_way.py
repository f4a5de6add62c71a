"""What somebody has under way on a VM's node by hand: a backup of its disks, beside which libvirt changes little.

Nobody tells the panel of its beginning, so it is looked for when an operation's turn comes, before its first step.
"""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import host
from panel.core.errors import NodeError, WrongState
from panel.vms import saved
from panel.vms.context import VmContext
from panel.vms.models import VmStatus

HELD_UP = frozenset(
    {
        *("vm.snapshot", "vm.revert-snapshot", "vm.delete-snapshot", "vm.adopt-snapshot"),
        *("vm.grow-disk", "vm.remove-disk", "vm.change-disk", "vm.migrate"),
        *("vm.reinstall", "vm.rescue", "vm.end-rescue"),
    }
)
"""Operations that libvirt refuses meanwhile, or that would break the backup off. vm.clone's copying looks by itself."""


def refuse_at_turn(operation: str, ctx: VmContext[Any]) -> None:
    """Raise WrongState for what the VM's node has of it now: a saved memory, or a backup that is being made by hand."""
    saved.refuse_at_turn(operation, ctx)
    if operation not in HELD_UP or (vm := ctx.find_vm()) is None or vm.status == VmStatus.SHUT_OFF:
        return
    try:
        found = ctx.agent.call(host.HostInfo(uuid=str(vm.uuid)))
    except NodeError:
        # It is the first step's matter, which is tried again.
        return
    if found.backup:
        text = (
            f"Somebody makes a backup of the VM on its node just now (virsh backup-begin). Wait for its end, which "
            f"“virsh domjobinfo {vm.name}” tells there, or end it with “virsh domjobabort {vm.name}”, and ask again."
        )
        raise WrongState(text, object="vm", id=vm.pk, state="with a backup under way", field="id")
