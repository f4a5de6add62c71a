"""Choosing a node for a VM: pure rules over what is known of each candidate.

Filters say why a candidate cannot take the VM, weights which of the others is best. The vms app counts
what its VMs take (placing.py there) and asks here; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nodeagent.protocol.node import OFF
from panel.cluster.models import Node, NodeState
from panel.core.errors import CapacityError
from panel.core.wording import Text, from_row, in_row, joined

MEMORY_POINTS = 1.0
"""What a GiB of memory that may still be promised counts."""
CPU_POINTS = 0.1
"""What a CPU counts that no VM is promised."""
STORAGE_POINTS = 0.001
"""What a free GiB of the wanted storage counts."""


GIB = 1024**3
OF_NODE = "{other_node}: {reason}"
OVERSOLD = (
    "{may} GiB of storage may still be promised to disks, {needed} GiB needed (disk_overselling_percent is {percent})"
)


@dataclass(frozen=True)
class Need:
    """What a VM needs of its node."""

    memory_mib: int
    disk_bytes: int
    """What is written to its storage at once."""
    vcpus: int
    promised_bytes: int = 0
    """How large its disks there are, as the guest sees them."""


@dataclass(frozen=True)
class StorageSpace:
    """A storage on a node: its size, what of it is free, and what of it disks are promised, in bytes."""

    capacity_bytes: int
    free_bytes: int
    promised_bytes: int = 0
    fault: str = ""
    """Why it cannot be used, as “not mounted”."""
    percent: int = 100
    """How much of its size may be promised to disks: the storage's own policy, or the cluster's."""


@dataclass(frozen=True)
class Candidate:
    """A node with what its VMs are promised already (those that move to it too), and free space of the wanted pool."""

    node: Node
    promised_mib: int
    storage: StorageSpace | None
    """None when the node does not have the pool."""
    promised_vcpus: int = 0
    vm_count: int = 0
    problems: Sequence[Text] = ()
    """Sentences of its open problems that are errors or worse."""
    unfit: Text | None = None
    """A reason of the asker's own."""

    @property
    def memory_mib(self) -> int:
        """What may be promised in all, with the cluster's overselling."""
        total = int(self.node.facts.get("memory_mib", 0))
        return total * self.node.cluster.memory_overselling_percent // 100

    @property
    def free_mib(self) -> int:
        """What may still be promised."""
        return self.memory_mib - self.promised_mib

    @property
    def cpus(self) -> int:
        """The CPUs that the node has."""
        return int(self.node.facts.get("cpu_count", 0))

    @property
    def free_vcpus(self) -> int | None:
        """CPUs that may still be promised; None where the policy sets no limit."""
        percent = self.node.cluster.cpu_overselling_percent
        return None if percent is None else self.cpus * percent // 100 - self.promised_vcpus


@dataclass(frozen=True)
class Choice:
    """The node that takes the VM, and what was thought of each: node, reason against it or points for it."""

    node: Node
    told: list[dict[str, Any]]


def lacks(candidate: Candidate, need: Need) -> Text | None:
    """Why the candidate cannot take the VM; None when it can."""
    node = candidate.node
    if node.state != NodeState.READY:
        return Text("the node is {state}", {"state": node.get_state_display().lower()})
    if node.facts.get("libvirt") == OFF:
        return Text("libvirt does not run on the node")
    if node.maintenance:
        return Text("the node is in maintenance")
    if candidate.problems:
        return Text("the node has an open problem: {problem}", {"problem": candidate.problems[0]})
    if candidate.unfit:
        return candidate.unfit
    return _lacks_resources(candidate, need)


def _lacks_resources(candidate: Candidate, need: Need) -> Text | None:
    if candidate.node.max_vms is not None and candidate.vm_count >= candidate.node.max_vms:
        data = {"count": candidate.vm_count, "allowed": candidate.node.max_vms}
        return Text("it has {count} VMs, {allowed} are allowed", data)
    if candidate.free_mib < need.memory_mib:
        data = {"free": candidate.free_mib, "needed": need.memory_mib}
        return Text("{free} MiB of memory free, {needed} MiB needed", data)
    if need.vcpus > candidate.cpus:
        return Text("{cpus} CPUs, {needed} needed", {"cpus": candidate.cpus, "needed": need.vcpus})
    if candidate.free_vcpus is not None and candidate.free_vcpus < need.vcpus:
        data = {"cpus": candidate.free_vcpus, "needed": need.vcpus}
        return Text("{cpus} CPUs may still be promised, {needed} needed", data)
    return lacks_storage(candidate.storage, promised_bytes=need.promised_bytes, written_bytes=need.disk_bytes)


def lacks_storage(
    space: StorageSpace | None, *, promised_bytes: int, written_bytes: int = 0, there: bool = False
) -> Text | None:
    """Why a storage cannot take disks of so many bytes, of which so many are written at once; None when it can.

    Their files may be `there` already, such as those of a domain that is imported.

    What all its disks are promised stays within the overselling of its size. Without overselling a promise must be
    kept whatever else fills the storage: then it must be free, too.
    """
    if space is None:
        return Text("the storage is not on this node")
    if space.fault:
        return Text("the storage is {fault}", {"fault": Text(space.fault)})
    percent = space.percent
    left = space.capacity_bytes * percent // 100 - space.promised_bytes
    if promised_bytes > max(left, 0):
        data = {"may": max(left, 0) // GIB, "needed": -(-promised_bytes // GIB), "percent": percent}
        return Text(OVERSOLD, data)
    needed = written_bytes if percent > 100 or there else max(promised_bytes, written_bytes)
    if space.free_bytes < needed:
        data = {"free": space.free_bytes >> 20, "needed": needed >> 20}
        return Text("{free} MiB of storage free, {needed} MiB needed", data)
    return None


def points(candidate: Candidate) -> float:
    """How well the candidate would take it; memory counts most."""
    return (
        candidate.free_mib / 1024 * MEMORY_POINTS
        + (candidate.cpus - candidate.promised_vcpus) * CPU_POINTS
        + (candidate.storage.free_bytes if candidate.storage else 0) / GIB * STORAGE_POINTS
    )


def choose(candidates: Sequence[Candidate], need: Need) -> Choice:
    """The candidate with the most points among those that can take the VM.

    Raises CapacityError with what each candidate lacks.
    """
    reasons = {candidate.node.name: lacks(candidate, need) for candidate in candidates}
    fit = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fit:
        named = [Text(OF_NODE, {"other_node": name, "reason": reason}) for name, reason in reasons.items()]
        told = joined(named) if named else Text("the cluster has no other node")
        raise CapacityError(
            Text("No node can take this VM: {reasons}.", {"reasons": told}),
            field="node",
            candidates={name: reason.english if reason else "" for name, reason in reasons.items()},
        )
    best = max(fit, key=lambda candidate: (points(candidate), -candidate.node.pk))
    return Choice(best.node, [_told(candidate, reasons[candidate.node.name]) for candidate in candidates])


def _told(candidate: Candidate, reason: Text | None) -> dict[str, Any]:
    told: dict[str, Any] = {"node": candidate.node.name}
    return {**told, "reason": in_row(reason)} if reason else {**told, "points": round(points(candidate), 1)}


def explain(told: Sequence[dict[str, Any]]) -> Text:
    """The choice in one line, for a task's log."""
    return joined(_explained(each) for each in told)


def _explained(told: dict[str, Any]) -> Text:
    if "reason" not in told:
        return Text("{other_node}: {points} points", {"other_node": told["node"], "points": told["points"]})
    return Text(OF_NODE, {"other_node": told["node"], "reason": from_row(told["reason"])})
