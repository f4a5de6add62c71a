"""The kind “vlan”: a VLAN of the network that the nodes are in."""

from __future__ import annotations

from pydantic import Field

from panel.cluster.models import Node
from panel.core.validation import Params
from panel.network import uplinks
from panel.network.kinds.kind import Kind, Options, register

MTU = "The longest packet; left out: as the uplink has it."


class VlanOptions(Params):
    """Which VLAN, on which interface."""

    uplink: uplinks.UplinkField = Field(
        description="The nodes' interface or bond that the VLAN is tagged on: “eth0”, or by node as “eth0, node2=eno1”."
    )
    vlan: int = Field(ge=1, le=4094, description="The VLAN's id, as the switches have it.")
    mtu: int | None = Field(default=None, ge=576, le=9216, description=MTU)


@register
class VlanKind(Kind):
    """A bridge with a tagged sub-interface on each node."""

    name = "vlan"
    label = "VLAN"
    options = VlanOptions
    everywhere = False

    def on_node(self, options: Options, node: Node) -> dict[str, str]:
        """With the node's own uplink."""
        return {**options, "uplink": self.uplink(options, node.name)}

    def uplink(self, options: Options, node: str) -> str:
        """What it is tagged on."""
        return uplinks.of_node(options["uplink"], node)

    def mtu(self, options: Options) -> int:
        """What is said, or fits."""
        return int(options.get("mtu", 0))

    def clash(self, options: Options, other: Options) -> str:
        """A VLAN of an uplink is one network's."""
        same = options["vlan"] == other["vlan"] and uplinks.meet(options["uplink"], other["uplink"])
        return "vlan" if same else ""
