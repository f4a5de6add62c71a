"""vmwatch's part of a node: vmwatch-node runs there and knows the master."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import node as protocol
from panel.cluster.context import NodeContext
from panel.cluster.parts import Part
from panel.monitoring.configure import end_rotation, tell_node


def prepare(ctx: NodeContext[Any]) -> None:
    """The master is configured, and vmwatch-node runs on the node with the same secret."""
    tell_node(ctx.agent, ctx.node)
    end_rotation()


def remove(ctx: NodeContext[Any]) -> None:
    """vmwatch-node is not on the node."""
    if ctx.find_node() is not None:
        ctx.agent.call(protocol.VmwatchRemove())


def check(ctx: NodeContext[Any]) -> list[str]:
    """Configure the service, which starts it when it is stopped, and complain when that does not help."""
    prepare(ctx)
    if ctx.agent.call(protocol.VmwatchStatus()).running:
        return []
    return ["vmwatch-node does not run."]


PART = Part(prepare=prepare, remove=remove, check=check)
