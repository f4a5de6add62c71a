"""node.accept-storage: what is at a storage's path on a node is the storage from now on."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from panel.accounts.models import User
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.operations.check import check_part
from panel.core.errors import NodeError, WrongState
from panel.core.wording import Text
from panel.storage.models import NodePool, Pool, PoolFault
from panel.storage.node_part import ensure_pool
from panel.storage.selectors import pool_named, volumes_at
from panel.storage.services import forget_what_it_was, recall_what_it_was
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import Requirement


class AcceptStorageParams(Params):
    """Which storage."""

    pool: str = Field(max_length=64, description="Name of the storage.")


class AcceptStorageContext(NodeContext[AcceptStorageParams]):
    """The node and its storage."""

    @property
    def pool(self) -> Pool:
        """The storage; raises NotFound."""
        return pool_named(self.node.cluster, self.params.pool)

    def lock_id(self, kind: str) -> int | None:
        """The storage is held, on all nodes."""
        return self.pool.pk if kind == "pool" else super().lock_id(kind)


def take_storage(ctx: AcceptStorageContext) -> dict[str, Any]:
    """What is at the path has the storage's folders and a mark, and the storage is known by them."""
    before = forget_what_it_was(ctx.node, ctx.pool)
    try:
        state = ensure_pool(ctx, ctx.pool)
    except NodeError:
        recall_what_it_was(ctx.node, ctx.pool, before)
        raise
    # VMs are placed on a node without problems alone.
    check_part(ctx, "storage")
    volumes = volumes_at(ctx.node).filter(pool=ctx.pool).count()
    if volumes:
        ctx.log(
            Text("VMs have {count} disks in it on this node: the doctor says which are not there.", {"count": volumes}),
            "warning",
        )
    return {"result": {"pool": ctx.pool.name, "mark": state.mark, "free_bytes": state.free_bytes, "volumes": volumes}}


def _all_as_they_were(node: Node) -> WrongState | None:
    if any(each.fault == PoolFault.NOT_MOUNTED for each in node.pools.all()):
        return None
    return WrongState("No storage was found to be missing on this node.", object="node", id=node.pk, state="complete")


A_STORAGE_IS_MISSING = Requirement("a storage is missing", _all_as_they_were)


class AcceptStorage(Operation[AcceptStorageParams]):
    """Take what is at a storage's path on the node for the storage from now on: a new, empty disk, or a restored copy.

    For a storage that is said to be not mounted, and whose disk will not come back or was replaced.
    """

    name = "node.accept-storage"
    label = "Accept storage"
    offered = (A_STORAGE_IS_MISSING,)
    permission = "cluster.manage"
    params = AcceptStorageParams
    context = AcceptStorageContext
    dangerous = True
    warning = (
        "VMs whose disks are in the storage of before have none until they are reinstalled or their files are put "
        "back. Where a file system is only not mounted, mount it instead."
    )
    rare = True
    locks = (shared("node"), exclusive("pool"))
    on_failure = "stop"
    # No undo: folders and a mark harm nobody, and what was there is not touched.
    steps = (Step(take_storage, "Prepare what is there", describe=lambda ctx: ctx.pool.where),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Accept storage {pool} of node {node}", {"pool": ctx.params.pool, "node": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a storage that is as it was."""
        known = NodePool.objects.filter(node=ctx.node, pool=ctx.pool).first()
        if known is None or known.fault != PoolFault.NOT_MOUNTED:
            text = "The storage was not found to be missing on this node: have the node checked first."
            raise WrongState(text, object="storage", id=ctx.pool.pk, state="as it was", field="pool")
