"""vmwatch's part of a node: vmwatch-node runs there and knows the master."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from nodeagent.protocol import node as protocol
from panel.cluster.context import NodeContext
from panel.cluster.parts import Complaint, Part, PartStep
from panel.core.wording import Text
from panel.monitoring import keys, reaching
from panel.monitoring.configure import end_rotation, narrow, tell_node
from panel.monitoring.models import NodeWatch
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem


def prepare(ctx: NodeContext[Any]) -> None:
    """The master is configured, and vmwatch-node runs on the node with the node's own secret."""
    tell_node(ctx.agent, ctx.node)
    end_rotation()


def remove(ctx: NodeContext[Any]) -> None:
    """vmwatch-node is not on the node, and nobody is believed who speaks as it did."""
    if ctx.find_node() is not None:
        ctx.agent.call(protocol.VmwatchRemove())
        narrow()


def forget(ctx: NodeContext[Any]) -> None:
    """The secret that the host has is worth nothing."""
    transaction.on_commit(narrow)


def check(ctx: NodeContext[Any]) -> Sequence[str | Complaint]:
    """Configure the service, which starts it when it is stopped, and complain when that does not help.

    One that was found stopped is a problem also when it could be mended; then it is closed at once.
    """
    key = f"node:{ctx.node.pk}:vmwatch"
    known = NodeWatch.objects.filter(node=ctx.node).exclude(keys_digest="").exists()
    if known and not ctx.agent.call(protocol.VmwatchStatus()).running:
        ctx.log("vmwatch-node did not run; it is configured and started again.", "warning")
        text = Text("Node “{node}”: vmwatch-node did not run.", {"node": ctx.node.name})
        open_problem(key, text, severity=Severity.WARNING, object_type="node", object_id=ctx.node.pk)
    prepare(ctx)
    if not ctx.agent.call(protocol.VmwatchStatus()).running:
        return [Complaint(Text("vmwatch-node does not run."))]
    if found := reaching.complaints(ctx):
        return found
    close_problem(key)
    return []


def reach() -> list[tuple[str, int]]:
    """Where vmwatch-master listens, once it is configured."""
    host, _, port = keys.told()[0].removeprefix("tcp://").rpartition(":")
    return [(host, int(port))] if host else []


def leaves(ctx: NodeContext[Any]) -> list[Text]:
    """vmwatch-node, with the secret of this node alone."""
    return [Text("the service vmwatch-node; its secret is this node's own, and is not believed any more")]


PART = Part(
    prepare=prepare,
    remove=remove,
    check=check,
    reach=reach,
    leaves=leaves,
    forget=forget,
    making=PartStep("configure_vmwatch", "Configure vmwatch", weight=2),
    removing=PartStep("remove_vmwatch", "Remove vmwatch-node"),
)
