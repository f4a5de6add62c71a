"""The pages of storages: what each node has of them, and the form for one more. Changes go to the REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from panel.cluster.models import Node
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.storage.kinds.directory import DirectoryKind
from panel.storage.models import NodePool, Pool
from panel.storage.node_part import LOW_ROOM_BYTES
from panel.storage.selectors import Assigned, assigned_in, list_pools, list_storage_problems
from panel.web.rendering import need, page, rows, viewer_of

MOST_NODES = 200
"""That are shown of a storage."""
MOST_NAMES = 3
"""Of the nodes that see the same files as another."""


@dataclass(frozen=True)
class Row:
    """A storage on a node; without `space` the node does not have it yet. `high_bytes`: more in use is too much."""

    node: Node
    space: NodePool | None
    assigned: Assigned
    same_as: str
    untrue: bool

    @property
    def used_bytes(self) -> int:
        """How much of it is in use, by whatever."""
        return self.space.capacity_bytes - self.space.free_bytes if self.space else 0

    @property
    def used_percent(self) -> int:
        """The same in hundredths of it."""
        return (
            round(100 * self.used_bytes / self.space.capacity_bytes) if self.space and self.space.capacity_bytes else 0
        )

    @property
    def high_bytes(self) -> int:
        """From which use on the node check complains."""
        return max(0, self.space.capacity_bytes - LOW_ROOM_BYTES) if self.space else 0


@dataclass(frozen=True)
class Storage:
    """A storage with its nodes; what was declared of it is `untrue` when their files say otherwise."""

    pool: Pool
    rows: Sequence[Row]

    @property
    def untrue(self) -> bool:
        """Whether any node's files say otherwise."""
        return any(row.untrue for row in self.rows)


@login_required
def storage_list(request: HttpRequest) -> HttpResponse:
    """The storages, node by node."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    shown = rows(request, list_pools(viewer))
    nodes = list(list_nodes(viewer).prefetch_related(None).order_by("name", "pk")[:MOST_NODES])
    assigned = assigned_in(shown)
    return page(
        request,
        "storage_list.html",
        storages=[Storage(pool, _on_nodes(pool, nodes, assigned)) for pool in shown],
        page=shown,
        problems=list_storage_problems(viewer)[:MOST_NODES],
        may_change=permissions.allows(viewer, "cluster.manage"),
    )


@login_required
def storage_new(request: HttpRequest) -> HttpResponse:
    """The form for a new storage."""
    need(viewer_of(request), "cluster.manage")
    return page(request, "storage_new.html", kind=DirectoryKind.label, formats=Pool.volume_format.field.choices)


def _on_nodes(pool: Pool, nodes: Sequence[Node], assigned: Mapping[tuple[int, int], Assigned]) -> list[Row]:
    """The storage on each of its cluster's nodes."""
    here = [node for node in nodes if node.cluster_id == pool.cluster_id]
    known = {each.node_id: each for each in pool.on_nodes.all()}
    return [_row(pool, node, here, known, assigned.get((node.pk, pool.pk), Assigned())) for node in here]


def _row(pool: Pool, node: Node, nodes: Sequence[Node], known: Mapping[int, NodePool], assigned: Assigned) -> Row:
    space = known.get(node.pk)
    mark = space.mark if space else ""
    marks = {other.name: known[other.pk].mark for other in nodes if other != node and other.pk in known}
    same = [name for name, others in marks.items() if mark and others == mark]
    different = any(mark and others and others != mark for others in marks.values())
    return Row(node, space, assigned, _names(same, len(nodes) - 1), untrue=different if pool.shared else bool(same))


def _names(names: Sequence[str], others: int) -> str:
    if len(names) == others > 1:
        return "all others"
    left = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {left} more" if left > 0 else "")
