"""The storages' part of a node: every pool of the cluster is on it."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import storage as protocol
from nodeagent.protocol.storage import PoolState
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.parts import Complaint, Part, PartStep, complaining
from panel.core.errors import CommandFailed
from panel.core.wording import Text
from panel.notices.models import Severity
from panel.storage.models import NodePool, Pool, PoolFault, Volume
from panel.storage.services import ensure_default_pool, record_fault, record_space
from panel.storage.sharing import not_shared, recorded_marks

HINTS: dict[str, Text] = {
    PoolFault.NOT_MOUNTED: Text(
        "Mount it, and all is well again. Is what is there now to be the storage, such as a new, empty disk, then say "
        "so with “Accept storage”: the files of before are not in it."
    ),
    PoolFault.READ_ONLY: Text("Mount it so that it can be written to."),
}
OWN, SHARED = "the storage “{pool}” in {path}", "the shared storage “{pool}” in {path}"
LOW_ROOM_BYTES = 5 * 1024**3


def prepare(ctx: NodeContext[Any]) -> None:
    """Every pool of the cluster is on the node, its free space recorded."""
    node = ctx.node
    ensure_default_pool(node.cluster)
    for pool in _pools(node):
        ensure_pool(ctx, pool)


def ensure_pool(ctx: NodeContext[Any], pool: Pool) -> PoolState:
    """The pool is on the node, its space recorded. One that was there before is not made anew: it is not mounted."""
    known = NodePool.objects.filter(node=ctx.node, pool=pool).exclude(mark="", seen_at=None).exists()
    try:
        state = ctx.agent.call(protocol.PoolEnsure(pool=pool.ref, begin=not known))
    except CommandFailed as error:
        record_fault(ctx.node, pool, str(error.data.get("agent_code")))
        raise
    if pool.store_apart:
        ctx.agent.call(protocol.PoolEnsure(pool.store))
    record_space(ctx.node, pool, state)
    return state


def remove(ctx: NodeContext[Any]) -> None:
    """No pool of the cluster is on the node; one that still has volumes is refused by the agent.

    The files of a shared one are those of the other nodes that have it too.
    """
    node = ctx.find_node()
    if node is None:
        return
    for pool in _pools(node):
        if not (pool.shared and NodePool.objects.filter(pool=pool).exclude(node=node).exists()):
            _remove(ctx, pool)
        NodePool.objects.filter(node=node, pool=pool).delete()


def _remove(ctx: NodeContext[Any], pool: Pool) -> None:
    try:
        ctx.agent.call(protocol.PoolRemove(pool=pool.ref))
        if pool.store_apart:
            ctx.agent.call(protocol.PoolRemove(pool.store))
    except CommandFailed as error:
        if error.data.get("agent_code") != PoolFault.NOT_MOUNTED:
            raise
        # What is not there cannot be removed, and must not keep a node for ever.
        ctx.log(Text("{text} What it held is left where it is.", {"text": error.data["text"]}), "warning")


def check(ctx: NodeContext[Any]) -> list[Complaint]:
    """Make new pools, record their space, and complain of too little, of one that is gone or cannot be made."""
    complaints: list[Complaint] = []
    for pool in _pools(ctx.node):
        with complaining(complaints, Text("The storage “{pool}” does not work", {"pool": pool.name})):
            try:
                state = ensure_pool(ctx, pool)
            except CommandFailed as error:
                if error.data.get("agent_code") not in HINTS:
                    raise
                complaints.append(_unusable(pool, error))
                continue
            if state.free_bytes < LOW_ROOM_BYTES:
                data = {"pool": pool.name, "free": state.free_bytes >> 20}
                complaints.append(Complaint(Text("The storage “{pool}” has only {free} MiB free.", data)))
            complaints += _unlike(ctx.node, pool)
    return complaints


def _unusable(pool: Pool, error: CommandFailed) -> Complaint:
    code = str(error.data["agent_code"])
    data = {"pool": pool.name, "fault": Text(PoolFault(code).label), "text": error.data["text"]}
    return Complaint(
        Text("The storage “{pool}” is {fault}. {text} {hint}", {**data, "hint": HINTS[code]}), Severity.ERROR
    )


def _unlike(node: Node, pool: Pool) -> list[Complaint]:
    """That another node sees other files in a pool that is declared shared."""
    marks = recorded_marks([pool])
    for other in Node.objects.filter(cluster=node.cluster).exclude(pk=node.pk).order_by("pk"):
        if reason := not_shared(pool, node, other, marks):
            return [Complaint(Text("Not as it is declared: {reason}.", {"reason": reason}))]
    return []


def _pools(node: Node) -> list[Pool]:
    return list(Pool.objects.filter(cluster=node.cluster))


def leaves(ctx: NodeContext[Any]) -> list[Text]:
    """Its storages, whose files stay."""
    return [Text(SHARED if pool.shared else OWN, {"pool": pool.name, "path": pool.where}) for pool in _pools(ctx.node)]


def forget(ctx: NodeContext[Any]) -> None:
    """No volume on the node is known; those of its VMs were forgotten with these."""
    Volume.objects.filter(node=ctx.node).delete()


PART = Part(
    prepare=prepare,
    remove=remove,
    check=check,
    leaves=leaves,
    forget=forget,
    making=PartStep("make_storages", "Make the storages"),
    removing=PartStep("remove_storages", "Remove the storages"),
)
