"""vmwatch.configure: the whole status subsystem anew, at both ends."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from panel.accounts.models import User
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import Agent
from panel.core import permissions
from panel.core.errors import NodeError
from panel.core.kinds import Kind
from panel.core.wording import Text
from panel.monitoring import configure
from panel.monitoring.models import WatchKeys
from panel.tasks.context import Context
from panel.tasks.operation import Operation, Params, Step

ONLY = 1
"""The one object that the operation is about."""


class ConfigureParams(Params):
    """What to do besides."""

    rotate: bool = Field(default=False, description="Make a new secret. No event is lost by it.")
    renew_curve: bool = Field(
        default=False,
        description="Make new CURVE keys. No event is lost, but a node's wait until this task, or its check, tells it.",
    )


def configure_master(ctx: Context[ConfigureParams]) -> dict[str, Any]:
    """vmwatch-master knows its address and its keys; while the secret changes it believes both."""
    if ctx.params.rotate:
        configure.rotate()
    if ctx.params.renew_curve:
        # Done twice there is only another pair.
        configure.renew_curve()
    where, _ = configure.configure_master()
    listens = Text("vmwatch-master listens on {where}.", {"where": where})
    ctx.log(listens if where else Text("vmwatch-master is disabled until there is a node.", {}))
    return {"where": where, "result": {"listen": where}}


def configure_nodes(ctx: Context[ConfigureParams]) -> dict[str, Any]:
    """vmwatch-node runs on every node that can be reached, with the same keys."""
    nodes = list(Node.objects.filter(state__in=(NodeState.READY, NodeState.UNREACHABLE)).order_by("pk"))
    missed = []
    for number, node in enumerate(nodes):
        ctx.stop_if_asked()
        ctx.progress(number / len(nodes), Text("node {node}", {"node": node.name}))
        try:
            configure.tell_node(Agent(node, ctx), node)
        except NodeError as error:
            ctx.log(Text("{error} Its next check configures it.", {"error": error.text}), "warning")
            missed.append(node.name)
    return {"result": {"configured": len(nodes) - len(missed), "missed": missed}}


def forget_previous(ctx: Context[ConfigureParams]) -> dict[str, Any]:
    """Only the present secret is believed, unless a node or the master has still to learn it."""
    if configure.end_rotation():
        return {"result": {"rotated": True}}
    ctx.log("The previous secret is believed until the master and every node have the new one.", "warning")
    return {"result": {"rotated": False}}


class ConfigureVmwatch(Operation[ConfigureParams]):
    """Configure vmwatch-master and every node's vmwatch-node: address, port and keys, as the panel's options say."""

    name = "vmwatch.configure"
    label = "Configure"
    permission = "cluster.manage"
    params = ConfigureParams
    on_failure = "stop"
    at_panel = True
    # No undo: it mends towards what shall be there.
    steps = (
        Step(configure_master, "Configure vmwatch-master"),
        Step(configure_nodes, "Configure the nodes", weight=5),
        Step(forget_previous, "Forget the previous secret"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Change the secret of vmwatch" if ctx.params.rotate else "Configure vmwatch")


def find(viewer: User, object_id: int) -> WatchKeys | None:
    """The status subsystem, for those who see the cluster."""
    return (
        WatchKeys.objects.get_or_create(id=ONLY)[0]
        if permissions.allows(viewer, "cluster.view") and object_id == ONLY
        else None
    )


KIND = Kind("vmwatch", "vmwatch", "vmwatch", only=ONLY, find=find)
