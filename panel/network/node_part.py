"""The networks' part of a node: every network of the cluster has its bridge on it."""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import network as protocol
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.parts import Complaint, Part, complaining
from panel.network.models import Network, NetworkKind
from panel.network.services import ensure_default_network


def prepare(ctx: NodeContext[Any]) -> None:
    """Every network of the cluster has its bridge on the node."""
    ensure_default_network(ctx.node.cluster)
    for network in _networks(ctx.node):
        ctx.agent.call(bridge_of(network))


def remove(ctx: NodeContext[Any]) -> None:
    """No network of the cluster has a bridge on the node."""
    node = ctx.find_node()
    if node is None:
        return
    for network in _networks(node):
        ctx.agent.call(protocol.BridgeRemove(name=network.bridge))


def check(ctx: NodeContext[Any]) -> list[Complaint]:
    """Make bridges and rules that are gone again, and complain of those that cannot be made."""
    complaints: list[Complaint] = []
    for network in _networks(ctx.node):
        with complaining(complaints, f"The bridge of the network “{network.name}” cannot be made"):
            ctx.agent.call(bridge_of(network))
    return complaints


def _networks(node: Node) -> list[Network]:
    return list(Network.objects.filter(cluster=node.cluster))


def bridge_of(network: Network) -> protocol.BridgeEnsure:
    """The bridge that every node has for the network."""
    return protocol.BridgeEnsure(
        name=network.bridge,
        gateway=f"{network.gateway}/{network.prefix}",
        subnet=network.subnet,
        nat=network.kind == NetworkKind.NAT,
    )


PART = Part(prepare=prepare, remove=remove, check=check)
