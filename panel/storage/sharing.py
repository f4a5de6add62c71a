"""Whether two nodes see the same files in a pool. The administrator declares it; the nodes are asked before it counts.

A wrong declaration would cost disks: what is shared is not copied, and what is local is deleted after its copy was
made. docs/decisions/0016 has the reasons.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from nodeagent.protocol import storage as protocol
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.core.wording import Text
from panel.storage.models import NodePool, Pool

Marks = dict[tuple[int, int], str]
"""What a pool's files were last seen to be marked with, by node and pool."""

NOT_SHARED = "the storage “{pool}” is declared shared, but “{other_node}” does not see there what “{source_node}” sees"
NOT_LOCAL = "the storage “{pool}” is declared local, but “{other_node}” sees there what “{source_node}” sees"


def recorded_marks(pools: Iterable[Pool]) -> Marks:
    """The marks of these pools on all nodes, by one query."""
    rows = NodePool.objects.filter(pool__in=list(pools)).exclude(mark="")
    return {(node, pool): mark for node, pool, mark in rows.values_list("node_id", "pool_id", "mark")}


def not_shared(pool: Pool, one: Node, other: Node, marks: Marks) -> Text | None:
    """Why the pool is surely not shared by the two although it is declared so; None when nothing speaks against it."""
    seen = {marks.get((node.pk, pool.pk)) for node in (one, other)}
    if pool.shared and len(seen - {None}) == 2:
        return untrue(pool, one, other)
    return None


def untrue(pool: Pool, one: Node, other: Node) -> Text:
    """That the pool is not what it is declared to be, as a sentence without a full stop."""
    data = {"pool": pool.name, "other_node": other.name, "source_node": one.name}
    return Text(NOT_SHARED if pool.shared else NOT_LOCAL, data)


def see_the_same(one: Agent, other: Agent, pool: Pool) -> bool:
    """Whether the other node sees at this moment what the one puts into the pool; nothing of it stays there."""
    sign = uuid.uuid4().hex
    one.call(protocol.PoolSign(pool=pool.ref, sign=sign))
    try:
        return other.call(protocol.PoolSignStatus(pool=pool.ref, sign=sign)).seen
    finally:
        one.call(protocol.PoolSign(pool=pool.ref, sign=sign, present=False))
