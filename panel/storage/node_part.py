"""The storages' part of a node: every pool of the cluster is on it."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import storage as protocol
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.parts import Complaint, Part, complaining
from panel.storage.models import NodePool, Pool
from panel.storage.services import ensure_default_pool, record_room
from panel.storage.sharing import not_shared, recorded_marks

LOW_ROOM_BYTES = 5 * 1024**3


def prepare(ctx: NodeContext[Any]) -> None:
    """Every pool of the cluster is on the node, its room recorded."""
    node = ctx.node
    ensure_default_pool(node.cluster)
    for pool in _pools(node):
        record_room(node, pool, ctx.agent.call(protocol.PoolEnsure(path=pool.path)))


def remove(ctx: NodeContext[Any]) -> None:
    """No pool of the cluster is on the node; one that still has volumes is refused by the agent.

    The files of a shared one are those of the other nodes that have it too.
    """
    node = ctx.find_node()
    if node is None:
        return
    for pool in _pools(node):
        if not (pool.shared and NodePool.objects.filter(pool=pool).exclude(node=node).exists()):
            ctx.agent.call(protocol.PoolRemove(path=pool.path))
        NodePool.objects.filter(node=node, pool=pool).delete()


def check(ctx: NodeContext[Any]) -> list[Complaint]:
    """Make pools that are gone again, record the room, and complain of too little or of what cannot be made."""
    complaints: list[Complaint] = []
    for pool in _pools(ctx.node):
        with complaining(complaints, f"The storage “{pool.name}” does not work"):
            state = ctx.agent.call(protocol.PoolEnsure(path=pool.path))
            record_room(ctx.node, pool, state)
            if state.free_bytes < LOW_ROOM_BYTES:
                text = f"The storage “{pool.name}” has only {state.free_bytes >> 20} MiB free."
                complaints.append(Complaint(text))
            complaints += _unlike(ctx.node, pool)
    return complaints


def _unlike(node: Node, pool: Pool) -> list[Complaint]:
    """That another node sees other files in a pool that is declared shared."""
    marks = recorded_marks([pool])
    for other in Node.objects.filter(cluster=node.cluster).exclude(pk=node.pk).order_by("pk"):
        if reason := not_shared(pool, node, other, marks):
            return [Complaint(f"{reason[0].upper()}{reason[1:]}.")]
    return []


def _pools(node: Node) -> list[Pool]:
    return list(Pool.objects.filter(cluster=node.cluster))


PART = Part(prepare=prepare, remove=remove, check=check)
