"""node.remove: the host is as it was before it was a node (but for distribution packages), and forgotten."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nodeagent.protocol import node as protocol
from panel.accounts.models import User
from panel.cluster import keys, marks, part_steps, services
from panel.cluster.context import NodeContext
from panel.cluster.models import NodeState
from panel.cluster.nodes import client
from panel.core import live
from panel.core.errors import (
    NodeRefused,
    NodeTimeout,
    NodeUnreachable,
    OperationFailed,
    VersionMismatch,
    WrongState,
)
from panel.core.wording import Text
from panel.notices.services import close_problems_of
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step

HAS_VM = "The node has {count} VM; delete or move them first."
HAS_VMS = "The node has {count} VMs; delete or move them first."


class RemoveNodeParams(Params):
    """Nothing to choose."""


def mark_removing(ctx: NodeContext[Any]) -> None:
    """No VM is placed on the node any more."""
    services.set_state(ctx.node, NodeState.REMOVING)


def look_at_host(ctx: NodeContext[Any]) -> dict[str, Any]:
    """The host answers, and says whose node it is: of one that is another panel's by now nothing is taken.

    One that does not answer is as before, not “removing” for ever.
    """
    try:
        mark = _read_mark(ctx)
    except (NodeUnreachable, NodeRefused, NodeTimeout, VersionMismatch) as error:
        services.set_state(ctx.node, NodeState.UNREACHABLE)
        services.report_unreachable(ctx.node, error.text)
        raise OperationFailed(
            Text(
                "{error} Nothing was removed. Reconnect the node if it is reached otherwise by now, or forget it "
                "if its host is gone for good.",
                {"error": error.text},
            ),
            step="look_at_host",
            node=ctx.node.name,
        ) from error
    if mark.panel in ("", marks.panel_id()):
        return {}
    other = marks.Mark(mark.panel, mark.node, mark.name, mark.panel_name).described
    ctx.log(
        Text("The host is a node of another panel by now, {panel}: nothing on it is touched.", {"panel": other}),
        "warning",
    )
    return {"of_another_panel": other}


def _read_mark(ctx: NodeContext[Any]) -> protocol.HostMark:
    try:
        return ctx.agent.call(protocol.MarkRead())
    except NodeUnreachable:
        # A connection that dies on the way says nothing of the node: a new one does.
        return ctx.agent.call(protocol.MarkRead())


def _is_ours(ctx: NodeContext[Any]) -> bool:
    return "of_another_panel" not in ctx.output(look_at_host)


def remove_agent(ctx: NodeContext[Any]) -> None:
    """The agent is not on the host, and the panel's key no longer lets anybody in."""
    try:
        if _is_ours(ctx):
            ctx.agent.call(protocol.AgentRemove(key=keys.public_key(), panel=marks.panel_id()))
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
    steps = part_steps.Steps(
        lambda: (
            Step(mark_removing, "Place no VM here any more", inline=True),
            Step(look_at_host, "Look at the host"),
            *part_steps.removing(_is_ours),
            Step(remove_agent, "Remove the agent and the panel's key"),
            Step(delete_record, "Forget the node"),
        )
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Remove node {node}", {"node": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node that has VMs, running or not."""
        count = ctx.node.vms.count()
        if count:
            raise WrongState(
                Text(HAS_VMS if count > 1 else HAS_VM, {"count": count}),
                object="node",
                id=ctx.node.pk,
                state="in use",
            )
