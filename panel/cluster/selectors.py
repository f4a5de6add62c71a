"""Reading nodes. Only those who see the whole cluster see its nodes."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q, QuerySet

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.core import kinds, permissions
from panel.core.errors import NotFound

ONLY = 1
"""How paths name the one cluster, whatever its id."""


def default_cluster() -> Cluster:
    """The cluster that nodes and VMs belong to unless told otherwise, made on first use."""
    return Cluster.objects.order_by("pk").first() or Cluster.objects.create(name="main")


def find_cluster(viewer: User, object_id: int) -> Cluster | None:
    """The cluster, for those who see all of it."""
    cluster = default_cluster()
    return cluster if permissions.allows(viewer, "cluster.view") and object_id in (ONLY, cluster.pk) else None


def list_nodes(viewer: User) -> QuerySet[Node]:
    """The nodes that the viewer may see."""
    nodes = Node.objects.select_related("cluster").prefetch_related("pools__pool", "networks__network")
    return nodes if permissions.allows(viewer, "cluster.view") else nodes.none()


def find_node(viewer: User, node_id: int) -> Node | None:
    """One node, None when absent or not for this viewer."""
    return list_nodes(viewer).filter(pk=node_id).first()


def find_bare_nodes(viewer: User, node_ids: Sequence[int]) -> QuerySet[Node]:
    """Those of the nodes that the viewer may see, and nothing of what lists show of them: one query."""
    nodes = Node.objects.filter(pk__in=node_ids)
    return nodes if permissions.allows(viewer, "cluster.view") else nodes.none()


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The first nodes that fit what somebody types, by a part of name or address, with their addresses."""
    if not permissions.allows(viewer, "cluster.view"):
        return []
    found = Node.objects.filter(Q(name__icontains=text) | Q(address__icontains=text)).order_by("name")
    return list(found.values_list("pk", "name", "address")[: kinds.MOST_FOUND])


def get_node(viewer: User, node_id: int) -> Node:
    """One node; raises NotFound."""
    node = find_node(viewer, node_id)
    if node is None:
        raise NotFound(object="node", id=node_id)
    return node
