"""node.maintain, node.end-maintenance: whether a node takes new VMs. Those that it has are left alone."""

from __future__ import annotations

from typing import Any

from panel.cluster import services
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import Requirement


class NoParams(Params):
    """Nothing to choose."""


def begin_maintenance(ctx: NodeContext[Any]) -> None:
    """No VM is placed on the node or moved to it any more."""
    services.set_maintenance(ctx.node, True)


def end_maintenance(ctx: NodeContext[Any]) -> None:
    """VMs may be placed on the node again."""
    services.set_maintenance(ctx.node, False)


def _in_state(node: Node, state: str) -> WrongState:
    return WrongState(object="node", id=node.pk, state=state, field="id")


TAKES_VMS = Requirement(
    "not in maintenance", lambda node: _in_state(node, "in maintenance already") if node.maintenance else None
)
IN_MAINTENANCE = Requirement(
    "in maintenance", lambda node: None if node.maintenance else _in_state(node, "not in maintenance")
)


class MaintainNode(Operation[NoParams]):
    """Let the node take no new VMs. Its own run on; node.evacuate moves them away."""

    name = "node.maintain"
    label = "Maintain"
    offered = (TAKES_VMS,)
    permission = "cluster.manage"
    params = NoParams
    context = NodeContext
    on_failure = "stop"
    # No undo: node.end-maintenance is it. No lock: who has chosen the node already goes on.
    steps = (Step(begin_maintenance, "Place no VM here any more", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Maintenance of node {node}", {"node": ctx.task.object_name})


class EndMaintenance(Operation[NoParams]):
    """Let the node take VMs again."""

    name = "node.end-maintenance"
    label = "End maintenance"
    offered = (IN_MAINTENANCE,)
    permission = "cluster.manage"
    params = NoParams
    context = NodeContext
    on_failure = "stop"
    steps = (Step(end_maintenance, "Place VMs here again", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("End of the maintenance of node {node}", {"node": ctx.task.object_name})
