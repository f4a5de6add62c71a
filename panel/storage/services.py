"""Pools' room as seen, and the pool that a new cluster begins with."""

from __future__ import annotations

from django.utils import timezone

from nodeagent.protocol.storage import PoolState
from panel.cluster.models import Cluster, Node
from panel.storage.models import NodePool, Pool

DEFAULT_PATH = "/var/lib/vmpanel/pool"


def ensure_default_pool(cluster: Cluster) -> Pool:
    """The cluster's first pool, made when there is none."""
    pool = Pool.objects.filter(cluster=cluster).order_by("pk").first()
    return pool or Pool.objects.create(cluster=cluster, name="local", path=DEFAULT_PATH)


def record_room(node: Node, pool: Pool, state: PoolState) -> None:
    """Remember a pool's room on a node as just seen."""
    NodePool.objects.update_or_create(
        node=node,
        pool=pool,
        defaults={
            "capacity_bytes": state.capacity_bytes,
            "free_bytes": state.free_bytes,
            "seen_at": timezone.now(),
        },
    )
