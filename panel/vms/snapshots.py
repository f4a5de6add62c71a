"""Reading a VM's snapshots, as the tree that they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from panel.vms.models import Snapshot, Vm


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
