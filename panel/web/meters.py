"""How much of a node is in use: what its VMs are, and its CPUs, memory and storages as bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Sum

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.notices.selectors import list_problems
from panel.vms.models import ON, Vm

HIGH = 0.9
"""Of what there is; more in use is shown as much."""


@dataclass(frozen=True)
class Meter:
    """How much of something is in use."""

    used: float
    total: float

    @property
    def percent(self) -> int:
        """In hundredths of what there is."""
        return round(100 * self.used / self.total) if self.total else 0

    @property
    def high(self) -> float:
        """From where on it is much."""
        return self.total * HIGH


@dataclass(frozen=True)
class Use:
    """What the VMs of a node are: how many, how many run, and what they are promised."""

    vms: int = 0
    running: int = 0
    vcpus: int = 0
    memory_mib: int = 0


def uses(node_ids: list[int]) -> dict[int, Use]:
    """What VMs use of each node; one query."""
    counted = (
        Vm.objects.filter(node__in=node_ids)
        .order_by()
        .values_list("node")
        .annotate(all=Count("pk"), on=Count("pk", filter=Q(status__in=ON)), cpus=Sum("vcpus"), mib=Sum("memory_mib"))
    )
    return {node: Use(*numbers) for node, *numbers in counted}


def memory(node: Node) -> Meter | None:
    """The node's memory, as its last check saw it."""
    total, free = node.facts.get("memory_mib"), node.facts.get("memory_free_mib")
    return Meter(total - free, total) if total and free is not None else None


def cpu(node: Node, use: Use) -> Meter | None:
    """The node's CPUs, and those that its VMs have."""
    count = node.facts.get("cpu_count")
    return Meter(use.vcpus, count) if count else None


def storage(node: Node) -> Meter | None:
    """All storages of the node together."""
    total = sum(each.capacity_bytes for each in node.pools.all())
    return Meter(total - sum(each.free_bytes for each in node.pools.all()), total) if total else None


def rows_of(viewer: User, nodes: list[Node]) -> list[dict[str, Any]]:
    """The nodes with what their VMs use, what is left, and how many problems each has; two queries."""
    ids = [node.pk for node in nodes]
    used = uses(ids)
    about = list_problems(viewer).filter(object_type="node", object_id__in=ids).order_by()
    problems = dict(about.values_list("object_id").annotate(Count("pk")))
    return [
        {
            "node": node,
            "use": (use := used.get(node.pk, Use())),
            "cpu": cpu(node, use),
            "memory": memory(node),
            "storage": storage(node),
            "problems": problems.get(node.pk, 0),
        }
        for node in nodes
    ]
