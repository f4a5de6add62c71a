"""Choosing the node for a new VM: pure rules over what is known of each candidate.

The vms room counts what its VMs take and asks here; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from panel.cluster.models import Node, NodeState
from panel.core.errors import CapacityError


@dataclass(frozen=True)
class Need:
    """What a VM needs of its node."""

    memory_mib: int
    disk_bytes: int
    vcpus: int


@dataclass(frozen=True)
class Candidate:
    """A node with what its VMs are promised already, and the room in the wanted pool."""

    node: Node
    promised_mib: int
    pool_free_bytes: int | None
    """None when the node does not have the pool."""

    @property
    def memory_mib(self) -> int:
        """What may be promised in all, with the cluster's overselling."""
        total = int(self.node.facts.get("memory_mib", 0))
        return total * self.node.cluster.memory_overselling_percent // 100

    @property
    def free_mib(self) -> int:
        """What may still be promised."""
        return self.memory_mib - self.promised_mib


def lacks(candidate: Candidate, need: Need) -> str:
    """Why the candidate cannot take the VM, as a sentence; empty when it can."""
    node = candidate.node
    if node.state != NodeState.READY:
        return f"the node is {node.get_state_display().lower()}"
    if node.facts.get("libvirt_version", "") is None:
        return "libvirt does not run on the node"
    if candidate.free_mib < need.memory_mib:
        return f"{candidate.free_mib} MiB of memory free, {need.memory_mib} MiB needed"
    cpus = int(node.facts.get("cpu_count", 0))
    if need.vcpus > cpus:
        return f"{cpus} CPUs, {need.vcpus} needed"
    if candidate.pool_free_bytes is None:
        return "the storage is not on this node"
    if candidate.pool_free_bytes < need.disk_bytes:
        return f"{candidate.pool_free_bytes >> 20} MiB of storage free, {need.disk_bytes >> 20} MiB needed"
    return ""


def choose(candidates: Sequence[Candidate], need: Need) -> Node:
    """The node with the most memory to promise among those that can take the VM.

    Raises CapacityError with what each candidate lacks.
    """
    reasons = {candidate.node.name: lacks(candidate, need) for candidate in candidates}
    fit = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fit:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "the cluster has no node"
        raise CapacityError(f"No node can take this VM: {told}.", field="node", candidates=reasons)
    return max(fit, key=lambda candidate: (candidate.free_mib, -candidate.node.pk)).node
