"""Reading how nodes are watched, for those who see the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import list_nodes
from panel.monitoring import keys
from panel.monitoring.models import MasterWatch, NodeInterfaces, WatchKeys


@dataclass(frozen=True)
class Watching:
    """The status subsystem as a whole. `listens` is empty while vmwatch-master is disabled."""

    listens: str
    heard_at: datetime | None
    encrypted: bool
    rotating: bool
    digest: str
    """Which keys nodes are told."""


def watching() -> Watching:
    """How vmwatch is; two queries."""
    heard_at = MasterWatch.objects.filter(id=1).values_list("heard_at", flat=True).first()
    row = WatchKeys.objects.filter(id=1).first()
    held = keys.of(row) if row is not None else None
    if row is None or held is None:
        return Watching("", heard_at, False, False, "")
    return Watching(row.endpoint, heard_at, bool(held.curve_public), held.changing, held.digest)


def list_watched(viewer: User) -> QuerySet[Node]:
    """The nodes that the viewer may see, each with what is known of its vmwatch-node (`watch`, which may be absent)."""
    return list_nodes(viewer).select_related("watch").prefetch_related(None)


def interfaces_of(node: Node) -> NodeInterfaces:
    """The node's network interfaces; without any and any time where its vmwatch-node has not told of them yet."""
    found = NodeInterfaces.objects.filter(node=node).first()
    return found or NodeInterfaces(node=node, interfaces=[])
