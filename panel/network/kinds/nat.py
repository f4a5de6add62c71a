"""The kind “nat”: a private network behind each node, whose guests go out with the node's address."""

from __future__ import annotations

from nodeagent.protocol.network import NAT
from panel.core.validation import Params
from panel.network.kinds.kind import Kind, register


class NatOptions(Params):
    """It has none."""


@register
class NatKind(Kind):
    """A bridge of its own on each node, which is the gateway."""

    name = NAT
    label = "Private network with NAT"
    options = NatOptions
    versions = (4,)
    node_is_gateway = True
    translated = True
