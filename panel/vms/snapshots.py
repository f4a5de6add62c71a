"""A VM's snapshots: the tree that they are, what keeps it from going back to one, those that the panel did not take.

Which of them libvirt has is compared by snapshot_audit.py with every check of the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from panel.core.errors import RequestError
from panel.core.wording import Text
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks.requirements import demand
from panel.vms.models import Snapshot, SnapshotState, Vm
from panel.vms.requirements import NO_OVERLAYS, NOT_ELSEWHERE, NOT_IN_RESCUE, NOT_SUSPENDED
from panel.vms.saved import refuse_saved
from panel.vms.snapshot_words import listed, unmanaged_told

LOST_ONE = "VM “{vm}”: the snapshot {names} is not on its node any more. Delete or forget it."
LOST = "VM “{vm}”: the snapshot {names} are not on its node any more. Delete or forget it."
NOT_DELETED = "VM “{vm}”: the snapshot “{name}” was not deleted: {reason}. Delete it again, or forget it."


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


REVERTIBLE = (NOT_IN_RESCUE, NO_OVERLAYS)
"""What going back to any snapshot requires of the VM."""
MAY_RUN = (NOT_SUSPENDED, NOT_ELSEWHERE)
"""What going back to one with memory requires besides: the guest runs afterwards."""


def why_no_revert(vm: Vm, *, with_memory: bool) -> str:
    """What keeps the VM from going back to a snapshot, with its memory or without, for a page; empty: nothing."""
    try:
        refuse_saved("vm.revert-snapshot", vm)
        demand(vm, *REVERTIBLE, *(MAY_RUN if with_memory else ()))
    except RequestError as error:
        return error.message
    return ""


def on_node(vm: Vm, names: Iterable[str]) -> list[str]:
    """Snapshots that libvirt has, as people call them: the panel's by their names, others by libvirt's own."""
    known = {row.on_node: row.name for row in vm.snapshots.all()}
    return [f"“{known[name]}”" if name in known else f"“{name}” (taken by hand)" for name in names]


def report(vm: Vm) -> None:
    """The problem of the VM's snapshots says what is wrong with them now, or is closed."""
    key = f"vm:{vm.pk}:snapshots"
    told = _wrong(vm)
    if told:
        whole = {f"text{number}": each for number, each in enumerate(told)}
        text = Text(" ".join(f"{{{name}}}" for name in whole), whole)
        open_problem(key, text, severity=Severity.WARNING, object_type="vm", object_id=vm.pk)
    else:
        close_problem(key)


def _wrong(vm: Vm) -> list[Text]:
    rows, named = [row for row in vm.snapshots.all() if row.lost], {"vm": vm.name}
    said = []
    if missing := [row.name for row in rows if row.state == SnapshotState.MISSING]:
        said.append(Text(LOST_ONE if len(missing) == 1 else LOST, {**named, "names": listed(missing)}))
    for row in rows:
        if row.state == SnapshotState.FAILED:
            said.append(Text(NOT_DELETED, {**named, "name": row.name, "reason": row.reason.rstrip(".")}))
    if vm.unmanaged_snapshots:
        said.append(Text("VM “{vm}”: {told}", {**named, "told": unmanaged_told(vm.unmanaged_snapshots)}))
    return said
