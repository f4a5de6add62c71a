"""Reading storage pools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Coalesce

from nodeagent.protocol.storage import KnownPool
from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.core import permissions
from panel.core.errors import NotFound
from panel.notices.models import Problem
from panel.notices.selectors import list_problems
from panel.storage.models import NodePool, Pool, Volume


def list_pools(viewer: User) -> QuerySet[Pool]:
    """All pools with their free space on each node; users see none of that."""
    pools = Pool.objects.select_related("cluster").prefetch_related("on_nodes__node")
    return pools if permissions.allows(viewer, "cluster.view") else pools.none()


def get_pool(viewer: User, pool_id: int) -> Pool:
    """One pool with its free space on each node; raises NotFound, also for those who do not see the cluster."""
    pool = list_pools(viewer).filter(pk=pool_id).first()
    if pool is None:
        raise NotFound(object="pool", id=pool_id)
    return pool


def pool_named(cluster: Cluster, name: str | None) -> Pool:
    """The pool of that name, or the cluster's first when no name is given; raises NotFound."""
    pools = Pool.objects.filter(cluster=cluster).order_by("pk")
    pool = pools.filter(name=name).first() if name else pools.first()
    if pool is None:
        raise NotFound(object="pool", id=name or "default", field="pool")
    return pool


def known_pools(node: Node) -> dict[str, KnownPool]:
    """What the node's pools were last seen to be, by their names; one query."""
    rows = NodePool.objects.filter(node=node).exclude(mark="").values_list("pool__name", "mark", "devices")
    return {name: KnownPool(mark, devices) for name, mark, devices in rows}


def node_of_volume() -> Coalesce:
    """For a query of volumes: the node that one is on, in a shared pool that of the VM that has it."""
    return Coalesce("node_id", "disk__vm__node_id", "auxiliary_disk__vm__node_id")


def volumes_at(node: Node) -> QuerySet[Volume]:
    """The volumes that are on the node, and those in shared pools of its VMs."""
    return Volume.objects.annotate(at=node_of_volume()).filter(at=node.pk)


@dataclass(frozen=True)
class Assigned:
    """The volumes in a pool on a node: how many, and how large their guests see them together."""

    volumes: int = 0
    gib: int = 0


def assigned_in(pools: Iterable[Pool]) -> dict[tuple[int, int], Assigned]:
    """What is in these pools, by node and pool; none where there is nothing. One query."""
    found = Volume.objects.filter(pool__in=list(pools)).annotate(at=node_of_volume()).values_list("at", "pool_id")
    summed = found.annotate(volumes=Count("pk"), gib=Sum("size_gib")).order_by()
    return {(node, pool): Assigned(volumes, gib) for node, pool, volumes, gib in summed}


def list_storage_problems(viewer: User) -> QuerySet[Problem]:
    """What the last check of each node complained of in its storages."""
    return list_problems(viewer).filter(object_type="node", open_key__endswith=":storage")
