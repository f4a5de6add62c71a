"""Reading storage pools."""

from __future__ import annotations

from django.db.models import QuerySet

from panel.accounts.models import User
from panel.cluster.models import Cluster
from panel.core import permissions
from panel.core.errors import NotFound
from panel.storage.models import Pool


def list_pools(viewer: User) -> QuerySet[Pool]:
    """All pools with their room on each node; users see none of that."""
    pools = Pool.objects.prefetch_related("on_nodes__node")
    return pools if permissions.allows(viewer, "cluster.view") else pools.none()


def get_pool(viewer: User, pool_id: int) -> Pool:
    """One pool with its room on each node; raises NotFound, also for those who do not see the cluster."""
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
