"""What is promised on each node already, for the choice of a node for a VM (panel/cluster/placement.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Greatest

from panel.cluster.models import Cluster, Node
from panel.cluster.placement import GIB, Candidate, StorageSpace, lacks_storage
from panel.core.errors import CapacityError
from panel.core.wording import Text
from panel.network.models import Address, IpPool, Network, NetworkState, NodeNetwork
from panel.notices.models import Problem, Severity
from panel.storage.models import NodePool, Pool, Volume
from panel.vms.limits import growing, shrinking
from panel.vms.models import Migration, Vm


def promise_of(vm: Vm) -> int:
    """How much memory the VM may come to have, in MiB."""
    return max(vm.memory_mib, vm.max_memory_mib)


def hold_promises(cluster_id: int) -> None:
    """One promise at a time in a cluster, until the transaction ends: what was free at the check may be another's."""
    Cluster.objects.select_for_update().only("pk").get(pk=cluster_id)


def storage_space(pool: Pool, *, but: Volume | None = None) -> dict[int, StorageSpace]:
    """The storage on each node that has it, with what its disks are promised, those to come too.

    `but` leaves out what is asked for of one volume already. The files of a shared one are the same on all nodes.
    """
    promised: Counter[int | None] = Counter()
    volumes = Volume.objects.filter(pool=pool)
    for node_id, gib in volumes.values_list("node").annotate(all=Sum("size_gib")).order_by():
        promised[node_id] += gib
    coming = [(volume.node_id, more) for volume, more in growing() if volume.pool_id == pool.pk and volume != but]
    moving = volumes.filter(disk__vm__in=_arriving()).values_list("disk__vm__migration__target", "size_gib")
    for node_id, gib in [*coming, *([] if pool.shared else moving)]:
        promised[node_id] += gib
    return {
        row.node_id: StorageSpace(
            row.capacity_bytes,
            row.free_bytes,
            (sum(promised.values()) if pool.shared else promised[row.node_id]) * GIB,
            row.get_fault_display() if row.fault else "",
            pool.overselling_percent,
        )
        for row in NodePool.objects.filter(pool=pool)
    }


def gib_by_pool(volumes: Iterable[Volume]) -> list[tuple[Pool, int]]:
    """How large the volumes are together in each of their pools."""
    pools: dict[int, tuple[Pool, int]] = {}
    for volume in volumes:
        pools[volume.pool_id] = volume.pool, pools.get(volume.pool_id, (volume.pool, 0))[1] + volume.size_gib
    return list(pools.values())


def lacks_disks(
    node: Node, pool: Pool, gib: int, *, written_bytes: int = 0, but: Volume | None = None, there: bool = False
) -> Text | None:
    """Why the storage on this node cannot take disks of so many GiB more; None when it can."""
    space = storage_space(pool, but=but).get(node.pk)
    return lacks_storage(space, promised_bytes=max(gib, 0) * GIB, written_bytes=written_bytes, there=there)


def refuse_no_storage(
    node: Node,
    pool: Pool,
    gib: int,
    *,
    field: str,
    written_bytes: int = 0,
    but: Volume | None = None,
    there: bool = False,
) -> None:
    """Raise CapacityError where the storage on this node cannot take so much more (placement.lacks_storage).

    Whoever reserves it asks again with hold_promises().
    """
    if reason := lacks_disks(node, pool, gib, written_bytes=written_bytes, but=but, there=there):
        text = Text("The node has no room for this: {node}: {reason}.", {"node": node.name, "reason": reason})
        raise CapacityError(text, field=field, candidates={node.name: reason.english})


def _arriving() -> QuerySet[Vm]:
    return Vm.objects.filter(pk__in=Migration.objects.filter(ended_at=None).values("vm"))


def _without(networks: Iterable[Network]) -> dict[int, Text]:
    """The nodes that could not have one of these networks, by their ids."""
    rows = NodeNetwork.objects.filter(network__in=[each.pk for each in networks], state=NetworkState.FAILED)
    names = rows.values_list("node", "network__name")
    return {node: Text("the network “{network}” cannot be made there", {"network": name}) for node, name in names}


def refuse_network(vm: Vm, network: Network) -> None:
    """Raise CapacityError for a network that cannot be made on the VM's node: an interface would join nothing."""
    if NodeNetwork.objects.filter(node=vm.node_id, network=network, state=NetworkState.FAILED).exists():
        text = Text("The network “{network}” cannot be made on the VM's node.", {"network": network.name})
        raise CapacityError(text, field="network", candidates={})


def networks_of(vm: Vm) -> list[Network]:
    """The networks that the VM's interfaces are in."""
    return [each.network for each in vm.interfaces.select_related("network")]


def bound_to(vm: Vm) -> Callable[[Node], Text | None]:
    """Why a node cannot take the VM: an address of its is of a range for VMs on another node alone."""
    held = list(Address.objects.filter(held__interface__vm=vm).values_list("network_id", "place"))
    of_nodes = IpPool.objects.filter(node__isnull=False, subnet__network__in={network for network, _place in held})
    names = {
        pool.node_id: pool.node.name
        for pool in of_nodes.select_related("node", "subnet")
        if any(pool.subnet.network_id == of and pool.first_place <= place <= pool.last_place for of, place in held)
        if pool.node is not None
    }

    def unfit(node: Node) -> Text | None:
        other = next((name for pk, name in names.items() if pk != node.pk), None)
        return Text("an address of the VM is for “{source_node}” alone", {"source_node": other}) if other else None

    return unfit


def candidates(
    nodes: Iterable[Node],
    pool: Pool,
    networks: Iterable[Network],
    unfit: Callable[[Node], Text | None] = lambda node: None,
) -> list[Candidate]:
    """The nodes as candidates for a VM in these networks, by a few queries for all.

    `unfit` gives the asker's own reason against a node.
    """
    storages, without = storage_space(pool), _without(networks)
    promised: dict[int, tuple[int, int, int]] = {}
    # One that may grow while it runs has all of that at the moment of its start.
    sums = {"memory": Sum(Greatest("memory_mib", "max_memory_mib")), "cpus": Sum("vcpus"), "count": Count("pk")}
    arriving = _arriving()
    for rows in (
        Vm.objects.values_list("node").annotate(**sums),
        # A VM that has arrived counts as its node's, until its move has ended a second time: that is on the safe side.
        arriving.values_list("migration__target").annotate(**sums),
    ):
        for node_id, memory, cpus, count in rows.order_by():
            before = promised.get(node_id, (0, 0, 0))
            promised[node_id] = (before[0] + memory, before[1] + cpus, before[2] + count)
    for node_id, more in shrinking():
        before = promised.get(node_id, (0, 0, 0))
        promised[node_id] = (before[0] + more, *before[1:])
    problems: dict[int, list[Text]] = {}
    severe = Problem.objects.filter(open_key__isnull=False, severity__in=(Severity.ERROR, Severity.ALARM))
    for problem in severe.filter(object_type="node"):
        problems.setdefault(problem.object_id or 0, []).append(problem.worded)
    found = []
    for node in nodes:
        memory, cpus, count = promised.get(node.pk, (0, 0, 0))
        reason = unfit(node) or without.get(node.pk)
        found.append(Candidate(node, memory, storages.get(node.pk), cpus, count, problems.get(node.pk, ()), reason))
    return found
