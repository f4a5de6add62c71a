"""A VM's snapshots: the tree that they are, what keeps it from going back to one, those that the panel did not take.

Which of them libvirt has is compared by snapshot_audit.py with every check of the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from panel.core.errors import RequestError, WrongState
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.vms import services
from panel.vms.models import Snapshot, SnapshotState, Vm
from panel.vms.saved import refuse_saved
from panel.vms.snapshot_words import AN_OVERLAY, listed, unmanaged_told


@dataclass
class Branch:
    """A snapshot and those that were taken from it."""

    snapshot: Snapshot
    children: list[Branch] = field(default_factory=list)


def tree(vm: Vm) -> list[Branch]:
    """The snapshots that have none before them, with all that follow; the oldest first."""
    branches = {row.pk: Branch(row) for row in vm.snapshots.all()}
    roots: list[Branch] = []
    for branch in branches.values():
        parent = branches.get(branch.snapshot.parent_id or 0)
        (parent.children if parent is not None else roots).append(branch)
    return roots


def refuse_revert(vm: Vm, *, with_memory: bool) -> None:
    """Raise WrongState or Suspended for what keeps the VM from going back to a snapshot, with its memory or without.

    With its memory the guest runs afterwards: not where the VM must not run.
    """
    refuse_saved("vm.revert-snapshot", vm)
    services.refuse_rescue(vm)
    refuse_overlays(vm)
    if with_memory:
        services.refuse_suspended(vm)
        services.refuse_seen_elsewhere(vm)


def why_no_revert(vm: Vm, *, with_memory: bool) -> str:
    """What `refuse_revert` says, for a page; empty where the VM may go back."""
    try:
        refuse_revert(vm, with_memory=with_memory)
    except RequestError as error:
        return error.message
    return ""


def refuse_overlays(vm: Vm) -> None:
    """Raise WrongState for a VM that writes into a file beside its disk since somebody took an external snapshot."""
    if overlays := [each["name"] for each in vm.unmanaged_snapshots if each["external"]]:
        text = f"The external snapshot {listed(overlays)} was taken on the node by hand: {AN_OVERLAY} first."
        raise WrongState(text, object="vm", id=vm.pk, state="with an overlay", field="id")


def on_node(vm: Vm, names: Iterable[str]) -> list[str]:
    """Snapshots that libvirt has, as people call them: the panel's by their names, others by libvirt's own."""
    known = {row.on_node: row.name for row in vm.snapshots.all()}
    return [f"“{known[name]}”" if name in known else f"“{name}” (taken by hand)" for name in names]


def report(vm: Vm) -> None:
    """The problem of the VM's snapshots says what is wrong with them now, or is closed."""
    key = f"vm:{vm.pk}:snapshots"
    if told := " ".join(_wrong(vm)):
        open_problem(key, told, severity=Severity.WARNING, object_type="vm", object_id=vm.pk)
    else:
        close_problem(key)


def _wrong(vm: Vm) -> Iterable[str]:
    rows = [row for row in vm.snapshots.all() if row.lost]
    if missing := [row.name for row in rows if row.state == SnapshotState.MISSING]:
        are = "is" if len(missing) == 1 else "are"
        yield f"VM “{vm.name}”: the snapshot {listed(missing)} {are} not on its node any more. Delete or forget it."
    for row in rows:
        if row.state == SnapshotState.FAILED:
            yield (
                f"VM “{vm.name}”: the snapshot “{row.name}” was not deleted: {row.reason.rstrip('.')}. "
                "Delete it again, or forget it."
            )
    if vm.unmanaged_snapshots:
        yield f"VM “{vm.name}”: {unmanaged_told(vm.unmanaged_snapshots)}"
