"""The networks' part of a node: every network of the cluster has its bridge on it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nodeagent.protocol import network as protocol
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.cluster.parts import Complaint, Part, PartStep, complaining
from panel.core.errors import CommandFailed, OperationFailed
from panel.core.wording import Text, joined
from panel.network import node_links
from panel.network.models import Network, NodeLink, NodeNetwork, Subnet
from panel.network.reach import kept_from
from panel.network.services import choose_again, ensure_default_network, record_state
from panel.network.subnets import overlap
from panel.network.trials import TRIAL_SECONDS, confirm
from panel.notices.models import Severity

INTERFACE_OF_HOST = (
    "The host has an interface “{bridge}” of its own, which would be the bridge of the network “{network}”. "
    "Rename it first."
)
RANGE_OF_HOST = (
    "The network “{network}” ({ranges}) overlaps what is the host's own: {used}. Change that on the host; a new "
    "cluster's network is set by the option FirstNetwork."
)
RANGE_BY_NOW = "The network “{network}” ({ranges}) overlaps what is the host's own by now: {used}."
NOT_HERE = "The node gets no VM of the network “{network}”, which it cannot have: {error}"
SHUT_IN = (
    "Guests of the network “{network}” do not get out: the host's firewall drops what it would forward for them "
    "({barriers}). Let it forward from and to {bridge}, for one with: {rules}."
)


def prepare(ctx: NodeContext[Any]) -> None:
    """Every network of the cluster has its bridge on the node."""
    look(ctx)
    for network in _networks(ctx.node):
        try:
            ensure_network(ctx.agent, network)
        except CommandFailed as error:
            if network.of_kind.everywhere:
                raise
            ctx.log(Text(NOT_HERE, {**_named(network), "error": error.text}), "warning")


def ensure_network(agent: Agent, network: Network) -> protocol.BridgeState:
    """The network is on the agent's node; that it is, or why not, is recorded."""
    try:
        state = agent.call(bridge_of(network, agent.node))
        if state.confirm_within:
            confirm(agent, protocol.BridgeConfirm(name=state.name), state.confirm_within)
    except CommandFailed as error:
        record_state(agent.node, network, str(error.data.get("text") or error.message))
        raise
    record_state(agent.node, network)
    return state


def look(ctx: NodeContext[Any]) -> None:
    """Every network of the cluster can have its bridge on the node; the first one is made where there is none.

    Raises OperationFailed naming what of the host's own is in the way.
    """
    said = ctx.agent.call(protocol.NetworksRead())
    network = ensure_default_network(ctx.node.cluster, _used(ctx.node, said))
    if _against(network, said) and not Node.objects.filter(cluster=ctx.node.cluster).exclude(pk=ctx.node.pk).exists():
        # An earlier host became no node after all.
        choose_again(network, _used(ctx.node, said))
    if against := [text for each in _networks(ctx.node) for text in _against(each, said)]:
        raise OperationFailed(joined(against, " "), step=ctx.step_name)


def _used(node: Node, said: protocol.HostNetworks) -> list[str]:
    """What a new network must not overlap: the host's own ranges, and nodes' addresses."""
    addresses = Node.objects.filter(cluster=node.cluster).values_list("address", flat=True)
    return [each.network for each in said.networks] + [f"{each}/32" for each in addresses if _is_ipv4(each)]


def _is_ipv4(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == 4
    except ValueError:
        return False


def _against(network: Network, said: protocol.HostNetworks) -> list[Text]:
    """Why the node cannot have the network's bridge."""
    against = []
    if network.bridge in said.links and not network.of_kind.hosts_bridge(network.options):
        against.append(Text(INTERFACE_OF_HOST, {"bridge": network.bridge, "network": network.name}))
    alone = [each.cidr for each in network.subnets.all() if network.of_kind.node_is_gateway]
    if used := [each.how for each in said.networks if any(overlap(each.network, cidr) for cidr in alone)]:
        against.append(Text(RANGE_OF_HOST, {**_named(network), "used": ", ".join(used)}))
    return against


def _named(network: Network) -> dict[str, str]:
    return {"network": network.name, "ranges": ", ".join(each.cidr for each in network.subnets.all())}


def remove(ctx: NodeContext[Any]) -> None:
    """No network of the cluster has a bridge on the node, which has no bond or VLAN of the panel's."""
    node = ctx.find_node()
    if node is None:
        return
    for network in _networks(node):
        ctx.agent.call(protocol.BridgeRemove(name=network.bridge))
        NodeNetwork.objects.filter(node=node, network=network).delete()
    # Those that lie upon others first.
    for link in NodeLink.objects.filter(node=node).order_by("-kind"):
        node_links.take(ctx.agent, link)


def check(ctx: NodeContext[Any]) -> list[Complaint]:
    """Make bridges and rules that are gone again, and complain of those that cannot be made."""
    complaints: list[Complaint] = []
    for link in NodeLink.objects.filter(node=ctx.node).order_by("kind"):
        what = Text("The interface “{interface}” cannot be made", {"interface": link.name})
        with complaining(complaints, what):
            node_links.make(ctx.agent, link)
    for network in _networks(ctx.node):
        severity = Severity.ERROR if network.of_kind.everywhere else Severity.WARNING
        with complaining(
            complaints, Text("The bridge of the network “{network}” cannot be made", _named(network)), severity
        ):
            state = ensure_network(ctx.agent, network)
            if state.overlaps:
                data = {**_named(network), "used": ", ".join(state.overlaps)}
                complaints.append(Complaint(Text(RANGE_BY_NOW, data)))
            if state.barriers:
                complaints.append(Complaint(_shut_in(network, state.barriers)))
    return complaints


def _shut_in(network: Network, barriers: Sequence[str]) -> Text:
    rules = "; ".join(f"iptables -I FORWARD -{way} {network.bridge} -j ACCEPT" for way in "io")
    data = {"network": network.name, "barriers": ", ".join(barriers), "bridge": network.bridge, "rules": rules}
    return Text(SHUT_IN, data)


def _networks(node: Node) -> list[Network]:
    return list(Network.objects.filter(cluster=node.cluster).select_related("cluster").prefetch_related("subnets"))


def bridge_of(network: Network, node: Node) -> protocol.BridgeEnsure:
    """The bridge that the node has for the network, with what its guests reach of nodes and panel just now."""
    trial = TRIAL_SECONDS if network.of_kind.on_trial else 0.0
    return replace(lasting_part(network, node), kept_from=kept_from(network.cluster), trial_seconds=trial)


def lasting_part(network: Network, node: Node) -> protocol.BridgeEnsure:
    """What of the network's bridge on the node stays, whatever guests reach of others."""
    first, *further = [_on_node(each) for each in network.subnets.all()] or [protocol.Subnet("")]
    return protocol.BridgeEnsure(
        name=network.bridge,
        **vars(first),
        further=further,
        nat=network.of_kind.translated,
        kind=network.kind,
        options=network.of_kind.on_node(network.options, node),
    )


def _on_node(subnet: Subnet) -> protocol.Subnet:
    """The subnet as nodes know it: with the gateway's address where they are the gateway."""
    gateway = subnet.gateway or ""
    return protocol.Subnet(subnet.cidr, gateway and subnet.network.of_kind.gateway_on_node(gateway, subnet.prefix))


def leaves(ctx: NodeContext[Any]) -> list[Text]:
    """Its bridges, and the bonds and VLANs that were made on it."""
    text = "the bridge {bridge} with the rules of its network"
    made = NodeLink.objects.filter(node=ctx.node).order_by("kind")
    return [
        *(Text(text, {"bridge": network.bridge}) for network in _networks(ctx.node)),
        *(Text("the interface {interface}", {"interface": link.name}) for link in made),
    ]


PART = Part(
    prepare=prepare,
    remove=remove,
    check=check,
    look=look,
    leaves=leaves,
    making=PartStep("make_bridges", "Make the bridges"),
    removing=PartStep("remove_bridges", "Remove the bridges"),
)
