"""A network on all nodes of its cluster: made on each, and taken from each again."""

from __future__ import annotations

from collections.abc import Iterator

from nodeagent.protocol import network as protocol
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import Agent
from panel.core.errors import (
    CommandFailed,
    NodeError,
    NodeRefused,
    NodeTimeout,
    NodeUnreachable,
    OperationFailed,
    VersionMismatch,
)
from panel.core.wording import Text, joined
from panel.network.context import NetworkContext
from panel.network.models import Network, NodeNetwork
from panel.network.node_part import ensure_network
from panel.tasks.context import P

AWAY = (NodeUnreachable, NodeRefused, NodeTimeout, VersionMismatch)
"""What says that there is no speaking with a node just now: it has its networks from its next check on."""


def make(ctx: NetworkContext[P]) -> dict[str, str]:
    """The network is on every node that answers and can have it; answers why not, by the names of the others.

    Raises OperationFailed where nodes answered, and none of them can have it.
    """
    network, made, refused = ctx.network, 0, {}
    for agent in _agents(ctx, network):
        try:
            ensure_network(agent, network)
            made += 1
        except AWAY as error:
            ctx.log(Text("{error} It has the network from its next check on.", {"error": error.text}), "warning")
        except CommandFailed as error:
            refused[agent.node.name] = error
            ctx.log(error.text, "warning")
    if refused and not made:
        raise OperationFailed(joined((error.text for error in refused.values()), " "), step=ctx.step_name)
    return {name: error.message for name, error in refused.items()}


def unmake(ctx: NetworkContext[P]) -> None:
    """No node has the network; raises NodeError of the first that cannot be asked, or has guests joined to it."""
    network = ctx.find_object()
    if network is None:
        return
    for agent in _agents(ctx, network):
        agent.call(protocol.BridgeRemove(name=network.bridge))
        NodeNetwork.objects.filter(node=agent.node, network=network).delete()


def unmake_where_possible(ctx: NetworkContext[P]) -> None:
    """The same for an undo: a node that does not answer is left to the doctor, who finds what is on it."""
    network = ctx.find_object()
    if network is None:
        return
    for agent in _agents(ctx, network):
        try:
            agent.call(protocol.BridgeRemove(name=network.bridge))
        except AWAY as error:
            ctx.log(error.text, "warning")
        NodeNetwork.objects.filter(node=agent.node, network=network).delete()


def remake(ctx: NetworkContext[P]) -> None:
    """For an undo: the network is on the nodes as its record says; one that cannot is told of, and checked later."""
    network = ctx.find_object()
    if network is None:
        return
    for agent in _agents(ctx, network):
        try:
            ensure_network(agent, network)
        except NodeError as error:
            ctx.log(error.text, "warning")


def _agents(ctx: NetworkContext[P], network: Network) -> Iterator[Agent]:
    """The agents of its nodes; those that are just being added or removed see to their networks themselves."""
    states = (NodeState.READY, NodeState.UNREACHABLE)
    nodes = Node.objects.select_related("cluster").filter(cluster=network.cluster_id, state__in=states)
    total = nodes.count()
    for number, node in enumerate(nodes.order_by("pk")):
        ctx.progress(number / total, Text("node {node}", {"node": node.name}))
        yield Agent(node, ctx)
