"""The kind “routed”: addresses that are routed to the nodes, each to the one that its VM is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from panel.cluster.models import Node
from panel.core.errors import MissingValue
from panel.core.validation import Params
from panel.network import uplinks
from panel.network.kinds.kind import Kind, Options, register


class RoutedOptions(Params):
    """Whether nodes answer for their guests, and where."""

    uplink: uplinks.UplinkField | None = Field(
        default=None,
        description="The nodes' interface towards the router, for “proxy”: “eth0”, or by node as “eth0, node2=eno1”.",
    )
    proxy: Literal["on", "off"] = Field(
        default="off",
        description="on: nodes answer for their guests' addresses on the uplink (proxy ARP and NDP), as the addresses "
        "are of its own network. off: the router sends them to the nodes.",
    )


@register
class RoutedKind(Kind):
    """A bridge of its own on each node, with a gateway outside of the subnets that all nodes have."""

    name = "routed"
    label = "Routed addresses"
    options = RoutedOptions
    everywhere = False
    gateways = {4: "169.254.1.1", 6: "fe80::1"}
    alone_in_prefix = True

    def checked(self, options: Mapping[str, object]) -> dict[str, str]:
        """To answer for guests, there must be where."""
        found = super().checked(options)
        if found["proxy"] == "on" and "uplink" not in found:
            raise MissingValue("Say the uplink on which nodes answer for their guests.", field="uplink")
        return found

    def on_node(self, options: Options, node: Node) -> dict[str, str]:
        """With the node's own uplink."""
        return {**options, "uplink": self.uplink(options, node.name)}

    def gateway_on_node(self, gateway: str, prefix: int) -> str:
        """Alone, or of the link."""
        return f"{gateway}/64" if gateway.startswith("fe80:") else f"{gateway}/{128 if ':' in gateway else 32}"

    def uplink(self, options: Options, node: str) -> str:
        """Where this node answers."""
        return uplinks.of_node(options["uplink"], node) if "uplink" in options else ""
