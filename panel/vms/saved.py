"""What becomes of a VM's saved memory: `virsh managedsave`, and libvirt-guests at a host's shutdown, leave one.

Such a VM (status `saved`) is off, and its next start goes on from that memory. So its disks, description and system
must stay what that memory knows: DEALS says for each operation on VMs whether it leaves the memory alone, is
refused, or discards it. Asked when the operation is asked for, when its turn comes, and by pages for what they offer;
the agent looks once more before it writes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from nodeagent.protocol import host
from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus


class Deal(StrEnum):
    """What an operation does with a memory that is saved."""

    KEEPS = "keeps it"
    RESUMES = "goes on from it"
    REFUSED = "is refused"
    DISCARDS = "discards it"


DEALS: dict[str, Deal] = {
    "vm.start": Deal.RESUMES,
    "vm.unsuspend": Deal.RESUMES,
    "vm.discard-saved": Deal.DISCARDS,
    "vm.delete": Deal.DISCARDS,
    "vm.repair": Deal.DISCARDS,
    "vm.reinstall": Deal.DISCARDS,
    **dict.fromkeys(
        (
            *("vm.stop", "vm.force-off", "vm.suspend", "vm.keep-off", "vm.autostart", "vm.change-owner"),
            *(
                "vm.adopt",
                "vm.settle",
                "vm.set-reverse-name",
                "vm.set-security-groups",
                "vm.add-port-forward",
                "vm.remove-port-forward",
                "vm.delete-snapshot",
                "vm.forget-snapshot",
                "vm.adopt-snapshot",
            ),
        ),
        Deal.KEEPS,
    ),
    **dict.fromkeys(
        (
            *("vm.restart", "vm.pause", "vm.resume", "vm.reset"),
            *("vm.configure", "vm.configure-guest", "vm.rename", "vm.finish-install"),
            *("vm.add-disk", "vm.grow-disk", "vm.remove-disk", "vm.change-disk", "vm.mount-iso", "vm.eject-iso"),
            *("vm.add-interface", "vm.remove-interface", "vm.change-interface"),
            *("vm.add-address", "vm.remove-address"),
            *("vm.snapshot", "vm.revert-snapshot", "vm.clone", "vm.migrate", "vm.rescue", "vm.end-rescue"),
        ),
        Deal.REFUSED,
    ),
}
"""By the operation's name; one that is not here is refused."""

WAY_OUT = "Its memory is saved on its node: start it, which goes on from there, or discard the memory, and ask again."
LOST = "What its guest had in memory and not on its disks is lost, as in a power cut."


def refuses(operation: str) -> bool:
    """Whether the operation is refused while the VM has a saved memory."""
    return DEALS.get(operation, Deal.REFUSED) == Deal.REFUSED


def refuse_saved(operation: str, vm: Vm) -> None:
    """Raise WrongState where the operation would change what the VM's saved memory knows."""
    if vm.status == VmStatus.SAVED and refuses(operation):
        raise _refused(vm)


def refuse_found(operation: str, ctx: VmContext[Any], vm: Vm, found: host.HostState) -> None:
    """Raise WrongState as refuse_saved() does by what the VM's node has now; of the task's own VM it is recorded."""
    if found.state != VmStatus.SAVED or not refuses(operation):
        return
    if vm.pk != ctx.task.object_id:
        raise _refused(vm)
    ctx.read_state(host.HostInfo(uuid=str(vm.uuid)))
    refuse_saved(operation, ctx.look_again())


def _refused(vm: Vm) -> WrongState:
    return WrongState(WAY_OUT, object="vm", id=vm.pk, state=VmStatus.SAVED, field="id")


def warning_of(operation: str, vm: Vm) -> str:
    """What is lost besides by an operation that discards the VM's saved memory; empty where nothing is."""
    if vm.status != VmStatus.SAVED or DEALS.get(operation) != Deal.DISCARDS or operation == "vm.discard-saved":
        return ""
    return f"The VM's memory is saved: it is discarded. {LOST}"


def and_discard(ctx: VmContext[Any], changes: Text) -> Text:
    """What a step changes, for a plan, with the memory that it discards."""
    if ctx.vm.status != VmStatus.SAVED:
        return changes
    return Text("{changes}; its saved memory is discarded", {"changes": changes})


def discard(ctx: VmContext[Any]) -> bool:
    """libvirt keeps no memory of the VM; answers whether it did, which the task's log says too."""
    uuid = str(ctx.vm.uuid)
    if ctx.agent.call(host.HostInfo(uuid=uuid)).state != VmStatus.SAVED:
        return False
    ctx.read_state(host.HostDiscardSaved(uuid=uuid))
    ctx.log(Text("Its saved memory was discarded. {lost}", {"lost": Text(LOST)}), "warning")
    return True
