"""Bonds and VLANs that the panel makes on nodes: made on trial, kept by checks, removed when nothing uses them."""

from __future__ import annotations

import itertools

from nodeagent.protocol import links as protocol
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.core.errors import AlreadyExists, WrongState
from panel.core.wording import Text
from panel.network.models import Network, NodeLink
from panel.network.trials import TRIAL_SECONDS, confirm


def make(agent: Agent, link: NodeLink) -> None:
    """The node has the interface, and was reached anew since where it had to be made."""
    made = agent.call(request_of(link))
    if made.confirm_within:
        confirm(agent, protocol.LinkConfirm(name=link.name), made.confirm_within)


def request_of(link: NodeLink) -> protocol.LinkEnsure:
    """The interface as nodes are asked for it."""
    return protocol.LinkEnsure(name=link.name, kind=link.kind, trial_seconds=TRIAL_SECONDS, **link.settings)


def take(agent: Agent, link: NodeLink) -> None:
    """The node does not have it."""
    agent.call(protocol.LinkRemove(name=link.name))


def free_bond(node: Node) -> str:
    """A name for one more bond."""
    taken = set(NodeLink.objects.filter(node=node).values_list("name", flat=True))
    return next(name for name in (f"bond{number}" for number in itertools.count()) if name not in taken)


def refuse_taken(link: NodeLink) -> None:
    """Raise AlreadyExists for a name that the panel gave an interface of the node, or a port that is part of another.

    WrongState for a port that a network goes out by.
    """
    for other in NodeLink.objects.filter(node=link.node_id):
        if other.name == link.name:
            text = Text("The node has an interface “{interface}” of the panel's already.", {"interface": link.name})
            raise AlreadyExists(text, field="name", object="interface")
        if both := {*link.ports} & {other.name, other.parent, *other.ports}:
            data = {"interface": min(both), "other": other.name}
            text = Text("“{interface}” is used by “{other}” already.", data)
            raise AlreadyExists(text, field="ports", object="interface")
    for port in link.ports:
        _refuse_uplink(link, port, "ports")


def refuse_used(link: NodeLink) -> None:
    """Raise WrongState for an interface that a network goes out by, or that another lies upon."""
    _refuse_uplink(link, link.name, "link")
    for other in NodeLink.objects.filter(node=link.node_id):
        if link.name in (other.parent, *other.ports):
            text = Text("“{interface}” is used by “{other}”.", {"interface": link.name, "other": other.name})
            raise WrongState(text, object="interface", id=link.name, state="in use", field="link")


def _refuse_uplink(link: NodeLink, name: str, field: str) -> None:
    for network in Network.objects.filter(cluster=link.node.cluster_id):
        if network.of_kind.uplink(network.options, link.node.name) == name:
            text = Text(
                "The network “{network}” goes out by “{interface}”.", {"network": network.name, "interface": name}
            )
            raise WrongState(text, object="interface", id=name, state="in use", field=field)
