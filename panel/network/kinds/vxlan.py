"""The kind “vxlan”: one private network on all nodes, over the network that they are in."""

from __future__ import annotations

import ipaddress

from pydantic import Field

from panel.cluster.models import Node
from panel.core.validation import Params
from panel.network.kinds.kind import Kind, Options, register
from panel.network.reach import addresses_of

FITTING = 1430
"""What of 1500 bytes the headers leave, also between addresses of IPv6."""


class VxlanOptions(Params):
    """Which VXLAN."""

    vni: int = Field(ge=1, le=(1 << 24) - 1, description="Its number, which no other network of the nodes' has.")
    mtu: int | None = Field(
        default=None,
        ge=576,
        le=9216,
        description="The longest packet; left out: 1450, or 1430 between addresses of IPv6, which fits where 1500 do.",
    )


@register
class VxlanKind(Kind):
    """A bridge on each node, and a tunnel from each to each."""

    name = "vxlan"
    label = "Private network across nodes (VXLAN)"
    options = VxlanOptions
    everywhere = False

    def on_node(self, options: Options, node: Node) -> dict[str, str]:
        """With the node's address, and those of the others that are of its version."""
        own = _address(node)
        others = Node.objects.filter(cluster=node.cluster_id).exclude(pk=node.pk).order_by("pk")
        found = sorted(filter(None, map(_address, others)))
        peers = [each for each in found if own and _version(each) == _version(own)]
        return {**options, "local": own, "peers": ",".join(peers)}

    def mtu(self, options: Options) -> int:
        """What is said, or fits."""
        return int(options.get("mtu", 0)) or FITTING

    def clash(self, options: Options, other: Options) -> str:
        """A VNI is one network's."""
        return "vni" if options["vni"] == other["vni"] else ""


def _address(node: Node) -> str:
    """Where the node is; "" where its name leads nowhere just now."""
    return next(iter(sorted(addresses_of(node.address), key=_version)), "")


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version
