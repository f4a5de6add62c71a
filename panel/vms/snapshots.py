"""Reading a VM's snapshots, as the tree that they are, and whether it may go back to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from panel.core.errors import RequestError
from panel.vms import services
from panel.vms.models import Snapshot, Vm
from panel.vms.saved import refuse_saved


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
