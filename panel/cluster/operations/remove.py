"""node.remove: the host is as it was before it was a node (but for distribution packages), and forgotten."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nodeagent.protocol import node as protocol
from panel.accounts.models import User
from panel.cluster import parts, services
from panel.cluster.context import NodeContext
from panel.cluster.models import NodeState
from panel.cluster.nodes import client
from panel.core import live
from panel.core.errors import NodeRefused, WrongState
from panel.notices.services import close_problems_of
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step


class RemoveNodeParams(Params):
    """Nothing to choose."""


def mark_removing(ctx: NodeContext[Any]) -> None:
    """No VM is placed on the node any more."""
    services.set_state(ctx.node, NodeState.REMOVING)


def remove_vmwatch(ctx: NodeContext[Any]) -> None:
    """vmwatch-node is not on the host."""
    parts.get("vmwatch").remove(ctx)


def remove_bridges(ctx: NodeContext[Any]) -> None:
    """The panel's bridges and their rules are not on the host."""
    parts.get("network").remove(ctx)


def remove_storages(ctx: NodeContext[Any]) -> None:
    """The panel's storages are not on the host."""
    parts.get("storage").remove(ctx)


def remove_agent(ctx: NodeContext[Any]) -> None:
    """The agent is not on the host, and the panel's key no longer lets anybody in."""
    try:
        ctx.agent.call(protocol.AgentRemove())
    except NodeRefused:
        # A repeated step: the key went with the agent, so it does not open any more.
        ctx.log("The panel's key opens the host no more: the agent was removed before.")
    client(ctx.node).close()


def delete_record(ctx: NodeContext[Any]) -> None:
    """The panel does not know the node."""
    node = ctx.find_node()
    if node is None:
        return
    with transaction.atomic():
        node.pools.all().delete()
        node.delete()
        close_problems_of("node", int(ctx.task.object_id or 0))
        transaction.on_commit(lambda: live.publish("node", {"id": ctx.task.object_id, "gone": True}))


class RemoveNode(Operation[RemoveNodeParams]):
    """Take an empty node out of the cluster and leave its host clean."""

    name = "node.remove"
    label = "Remove"
    permission = "cluster.manage"
    params = RemoveNodeParams
    context = NodeContext
    on_failure = "stop"
    cancellable = "never"
    dangerous = True
    locks = (exclusive("node"),)
    # No step has an undo: the node can be added again.
    steps = (
        Step(mark_removing, "Place no VM here any more", inline=True),
        Step(remove_vmwatch, "Remove vmwatch-node"),
        Step(remove_bridges, "Remove the bridges"),
        Step(remove_storages, "Remove the storages"),
        Step(remove_agent, "Remove the agent and the panel's key"),
        Step(delete_record, "Forget the node"),
    )

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Remove node {ctx.task.object_name}"

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node that has VMs, running or not."""
        count = ctx.node.vms.count()
        if count:
            raise WrongState(
                f"The node has {count} VM{'s' if count > 1 else ''}; delete or move them first.",
                object="node",
                id=ctx.node.pk,
                state="in use",
            )
