"""What is promised on each node already, for the choice of a node for a VM (panel/cluster/placement.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db.models import Count, Sum
from django.db.models.functions import Greatest

from panel.cluster.models import Node
from panel.cluster.placement import Candidate
from panel.notices.models import Problem, Severity
from panel.storage.models import NodePool, Pool
from panel.vms.models import Migration, Vm


def promise_of(vm: Vm) -> int:
    """How much memory the VM may come to have, in MiB."""
    return max(vm.memory_mib, vm.max_memory_mib)


def candidates(nodes: Iterable[Node], pool: Pool, unfit: Callable[[Node], str] = lambda node: "") -> list[Candidate]:
    """The nodes as candidates, by a few queries for all; `unfit` gives the asker's own reason against a node."""
    free = dict(NodePool.objects.filter(pool=pool).values_list("node_id", "free_bytes"))
    promised: dict[int, tuple[int, int, int]] = {}
    # One that may grow while it runs has all of that at the moment of its start.
    sums = {"memory": Sum(Greatest("memory_mib", "max_memory_mib")), "cpus": Sum("vcpus"), "count": Count("pk")}
    arriving = Vm.objects.filter(pk__in=Migration.objects.filter(ended_at=None).values("vm"))
    for rows in (
        Vm.objects.values_list("node").annotate(**sums),
        # A VM that has arrived counts as its node's, until its move has ended a second time: that is on the safe side.
        arriving.values_list("migration__target").annotate(**sums),
    ):
        for node_id, memory, cpus, count in rows.order_by():
            before = promised.get(node_id, (0, 0, 0))
            promised[node_id] = (before[0] + memory, before[1] + cpus, before[2] + count)
    problems: dict[int, list[str]] = {}
    severe = Problem.objects.filter(open_key__isnull=False, severity__in=(Severity.ERROR, Severity.ALARM))
    for node_id, text in severe.filter(object_type="node").values_list("object_id", "text"):
        problems.setdefault(node_id or 0, []).append(text)
    found = []
    for node in nodes:
        memory, cpus, count = promised.get(node.pk, (0, 0, 0))
        found.append(Candidate(node, memory, free.get(node.pk), cpus, count, problems.get(node.pk, ()), unfit(node)))
    return found
