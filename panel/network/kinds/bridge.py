"""The kind “bridge”: guests are in the nodes' own network."""

from __future__ import annotations

from pydantic import Field

from panel.core.validation import Params
from panel.network.kinds.kind import Kind, Options, register

INTERFACE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$"
"""What interfaces are called (as nodeagent/network/bridge.py has it)."""


class BridgeOptions(Params):
    """Which bridge."""

    bridge: str = Field(
        pattern=INTERFACE,
        description="A bridge that every node has already, as br0. Guests join it; it is never changed nor removed.",
    )


@register
class BridgeKind(Kind):
    """A bridge in the nodes' own network."""

    name = "bridge"
    label = "Nodes' own network"
    options = BridgeOptions
    everywhere = False

    def hosts_bridge(self, options: Options) -> str:
        """The one that was chosen."""
        return options["bridge"]

    def clash(self, options: Options, other: Options) -> str:
        """A bridge is one network's."""
        return "bridge" if options["bridge"] == other["bridge"] else ""
