"""The kind “bridge”: guests are in the nodes' own network."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from panel.cluster.models import Node
from panel.core.errors import InvalidValue
from panel.core.validation import Params
from panel.network import uplinks
from panel.network.kinds.kind import Kind, Options, register


class BridgeOptions(Params):
    """Which bridge, or of what."""

    bridge: str | None = Field(
        default=None,
        pattern=uplinks.PATTERN,
        description="A bridge that every node has already, as br0. Guests join it; it is never changed nor removed.",
    )
    uplink: uplinks.UplinkField | None = Field(
        default=None,
        description="The nodes' own interface or bond, which a bridge takes in with its addresses and routes: "
        "“eth0”, or by node as in “eth0, node2=eno1”. A node that cannot be reached then has all as it was.",
    )


@register
class BridgeKind(Kind):
    """A bridge in the nodes' own network: the nodes' own one, or one that takes their interface in."""

    name = "bridge"
    label = "Nodes' own network"
    options = BridgeOptions
    everywhere = False
    on_trial = True

    def checked(self, options: Mapping[str, object]) -> dict[str, str]:
        """One of both, not both."""
        found = super().checked(options)
        if ("bridge" in found) == ("uplink" in found):
            raise InvalidValue("Say either a bridge that nodes have already, or an uplink of theirs.", field="uplink")
        return found

    def hosts_bridge(self, options: Options) -> str:
        """The one that was chosen."""
        return options.get("bridge", "")

    def on_node(self, options: Options, node: Node) -> dict[str, str]:
        """With the node's own uplink."""
        return {**options, "uplink": self.uplink(options, node.name)} if "uplink" in options else dict(options)

    def uplink(self, options: Options, node: str) -> str:
        """What is taken in on this node."""
        return uplinks.of_node(options["uplink"], node) if "uplink" in options else ""

    def clash(self, options: Options, other: Options) -> str:
        """A bridge is one network's, and so is an interface that is taken in."""
        if options.get("bridge") and options["bridge"] == other.get("bridge"):
            return "bridge"
        if "uplink" not in options or "uplink" not in other:
            return ""
        return "uplink" if uplinks.meet(options["uplink"], other["uplink"]) else ""
