"""The storages' part of a node: every pool of the cluster is on it."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import storage as protocol
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.parts import Complaint, Part, complaining
from panel.storage.models import NodePool, Pool
from panel.storage.services import ensure_default_pool, record_room

LOW_ROOM_BYTES = 5 * 1024**3


def prepare(ctx: NodeContext[Any]) -> None:
    """Every pool of the cluster is on the node, its room recorded."""
    node = ctx.node
    ensure_default_pool(node.cluster)
    for pool in _pools(node):
        record_room(node, pool, ctx.agent.call(protocol.PoolEnsure(path=pool.path)))


def remove(ctx: NodeContext[Any]) -> None:
    """No pool of the cluster is on the node; one that still has volumes is refused by the agent."""
    node = ctx.find_node()
    if node is None:
        return
    for pool in _pools(node):
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
    return complaints


def _pools(node: Node) -> list[Pool]:
    return list(Pool.objects.filter(cluster=node.cluster))


PART = Part(prepare=prepare, remove=remove, check=check)
