"""Pools: made, changed, the one that a new cluster begins with; their room as seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from django.db import transaction
from django.utils import timezone

from nodeagent.protocol.storage import PoolState
from panel.cluster.models import Cluster, Node
from panel.core.errors import AlreadyExists, InvalidValue
from panel.core.validation import plain_name
from panel.storage.models import NodePool, Pool, PoolFault

DEFAULT_PATH = "/var/lib/vmpanel/pool"


@transaction.atomic
def ensure_default_pool(cluster: Cluster) -> Pool:
    """The cluster's first pool, made when there is none."""
    # Nodes that are added at the same time all ask for it.
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    pool = Pool.objects.filter(cluster=cluster).order_by("pk").first()
    return pool or Pool.objects.create(cluster=cluster, name="local", path=DEFAULT_PATH)


_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*){2,}\Z")


def add_pool(cluster: Cluster, values: Mapping[str, Any]) -> Pool:
    """A new pool; each node of the cluster has it from its next check on.

    Raises InvalidValue for a path that cannot be a pool's, AlreadyExists for one that touches another pool's.
    """
    path, name = values["path"].rstrip("/"), plain_name(values["name"])
    if not _PATH.match(path):
        raise InvalidValue("A storage is an absolute path of at least two folders.", field="path")
    with transaction.atomic():
        Cluster.objects.select_for_update().get(pk=cluster.pk)
        for other in Pool.objects.filter(cluster=cluster):
            if other.name == name:
                raise AlreadyExists(f"There is a storage “{other.name}” already.", field="name", object="pool")
            places = PurePosixPath(path), PurePosixPath(other.path)
            if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
                raise AlreadyExists(f"The storage “{other.name}” is at {other.path}.", field="path", object="pool")
        return Pool.objects.create(cluster=cluster, **{**values, "name": name, "path": path})


def change_pool(pool: Pool, changes: Mapping[str, Any]) -> None:
    """Change what may be chosen of a pool. That it is shared counts only where the nodes agree (sharing.py)."""
    Pool.objects.filter(pk=pool.pk).update(**changes)


def record_room(node: Node, pool: Pool, state: PoolState) -> None:
    """Remember a pool's room on a node as just seen."""
    NodePool.objects.update_or_create(
        node=node,
        pool=pool,
        defaults={
            "capacity_bytes": state.capacity_bytes,
            "free_bytes": state.free_bytes,
            "mark": state.mark,
            "devices": state.devices,
            "fault": PoolFault.NONE,
            "seen_at": timezone.now(),
        },
    )


def record_fault(node: Node, pool: Pool, agent_code: str) -> None:
    """Remember that the pool on the node cannot be used, by what the agent called it; its room stays as last seen."""
    fault = PoolFault(agent_code) if agent_code in PoolFault.values and agent_code else PoolFault.BROKEN
    NodePool.objects.filter(node=node, pool=pool).update(fault=fault)


def forget_what_it_was(node: Node, pool: Pool) -> dict[str, Any]:
    """Whatever is at the pool's path on the node is the pool from its next check on; answers what it was."""
    known = NodePool.objects.filter(node=node, pool=pool)
    before: dict[str, Any] = {}
    for mark, devices in known.exclude(mark="").values_list("mark", "devices"):
        before = {"mark": mark, "devices": devices}
    known.update(mark="", devices=None, seen_at=None)
    return before


def recall_what_it_was(node: Node, pool: Pool, before: Mapping[str, Any]) -> None:
    """The pool on the node is known by what it was, unless it has become another meanwhile."""
    NodePool.objects.filter(node=node, pool=pool, mark="").update(seen_at=timezone.now(), **before)
