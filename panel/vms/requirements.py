"""What operations on VMs require of the VM (tasks/requirements.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from panel.cluster.models import NodeState
from panel.core.errors import PanelError, Suspended, WrongState
from panel.core.wording import Text
from panel.tasks.requirements import Refusal, Requirement
from panel.vms import drift
from panel.vms.models import Purpose, SnapshotState, Vm, VmStatus
from panel.vms.services import gone
from panel.vms.snapshot_words import AN_OVERLAY, listed, unmanaged_told

ON = (VmStatus.RUNNING, VmStatus.PAUSED)


def wrong_state(vm: Vm, state: str, text: str | Text = "") -> WrongState:
    """The refusal of a VM that is in this state."""
    return WrongState(text, object="vm", id=vm.pk, state=state, field="id")


def requirement(name: str, holds: Callable[[Vm], bool], state: str | None = None, text: str = "") -> Requirement:
    """That something is true of the VM; `state` is what it is called where not, None for the VM's status."""
    return Requirement(name, lambda vm: None if holds(vm) else wrong_state(vm, state or vm.status, text))


def status_in(name: str, statuses: Collection[str], text: str = "") -> Requirement:
    """That the VM is in one of these statuses."""
    return requirement(name, lambda vm: vm.status in statuses, None, text)


def _elsewhere(vm: Vm) -> PanelError | None:
    if not vm.seen_elsewhere:
        return None
    if any(not each.accepted and each.status in ON for each in vm.sightings.all()):
        text = "Another node runs a domain of this VM's UUID. Say first which one is right."
        return wrong_state(vm, "active on another node", text)
    text = "This VM was moved by hand: another node has it. Say first where it lives (vm.settle)."
    return wrong_state(vm, "on another node", text)


def _suspended(vm: Vm) -> PanelError | None:
    reason = vm.suspension_reason or "no reason given"
    return Suspended(object="vm", id=vm.pk, reason=reason, field="id") if vm.suspended else None


def _in_rescue(*purposes: Purpose) -> Refusal:
    def refusal(vm: Vm) -> PanelError | None:
        if all(each.purpose not in purposes for each in vm.auxiliary_disks.all()):
            return None
        return wrong_state(vm, "rescue", "The VM is in rescue mode. End that first.")

    return refusal


def _snapshots(vm: Vm) -> PanelError | None:
    return _held_by(vm, [row.name for row in vm.snapshots.all()])


def _taken_snapshots(vm: Vm) -> PanelError | None:
    return _held_by(vm, [row.name for row in vm.snapshots.all() if row.state != SnapshotState.CREATING])


def _held_by(vm: Vm, names: list[str]) -> PanelError | None:
    if names:
        return wrong_state(
            vm, "with snapshots", Text("Delete the VM's snapshots first: {snapshots}.", {"snapshots": listed(names)})
        )
    if vm.unmanaged_snapshots:
        text = Text("This cannot be done now: {reason}", {"reason": unmanaged_told(vm.unmanaged_snapshots)})
        return wrong_state(vm, "with snapshots", text)
    return None


def _overlays(vm: Vm) -> PanelError | None:
    overlays = [each["name"] for each in vm.unmanaged_snapshots if each["external"]]
    text = Text(
        "The external snapshot {snapshots} was taken on the node by hand: {ways} first.",
        {"snapshots": listed(overlays), "ways": Text(AN_OVERLAY)},
    )
    return wrong_state(vm, "with an overlay", text) if overlays else None


def _node(vm: Vm) -> PanelError | None:
    if vm.node.state == NodeState.READY:
        return None
    return WrongState(object="node", id=vm.node_id, state=vm.node.get_state_display().lower())


NOT_MISSING = Requirement("not missing", lambda vm: gone(vm) if vm.status == VmStatus.MISSING else None)
FINISHED = requirement("finished", lambda vm: vm.installed, "not finished")
"""Its creation reached its end."""
NOT_ELSEWHERE = Requirement("not on another node", _elsewhere)
"""No other node runs a domain of its UUID, or ran it last, or somebody has decided about that."""
NOT_SUSPENDED = Requirement("not suspended", _suspended)
NOT_IN_RESCUE = Requirement(
    "not in rescue mode",
    _in_rescue(Purpose.PREPARED, Purpose.RESCUE, Purpose.LEFT),
    at_turn=_in_rescue(Purpose.RESCUE, Purpose.LEFT),
)
"""Nor on its way there, and nothing of its rescue system is left."""
NO_SNAPSHOTS = Requirement("no snapshots", _snapshots, at_turn=_taken_snapshots)
"""They hold its disks as they were, and its name."""
NO_OVERLAYS = Requirement("no overlays", _overlays)
"""It does not write into a file beside its disk since somebody took an external snapshot."""
NOT_INSTALLING = requirement(
    "not being installed", lambda vm: not vm.installing, "being installed", "Finish the installation first."
)
SHUT_OFF = status_in("shut off", (VmStatus.SHUT_OFF, VmStatus.CRASHED), "Shut the VM down first.")
"""It is known to be so."""
SUSPENDED = requirement("suspended", lambda vm: vm.suspended, "not suspended")
NODE_READY = Requirement("on a node that is ready", _node)


def undrifted(counts: drift.Counts) -> Requirement:
    """That the last comparison found none of these differences; at its turn an operation compares anew by itself."""
    return Requirement("as the panel described it", lambda vm: drift.known_error(vm, counts)).when_asked
