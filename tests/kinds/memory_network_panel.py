"""A kind of network for tests: all that the panel needs of it."""

from __future__ import annotations

from pydantic import Field

from panel.core.validation import Params
from panel.network.kinds import Kind, register


class WireOptions(Params):
    """Which wire."""

    wire: str = Field(max_length=32, pattern=r"^[a-z0-9]+$", description="What is one network on all nodes.")


@register
class MemoryNetworkKind(Kind):
    """A wire in memory."""

    name = "memory"
    label = "Memory"
    options = WireOptions

    def uplink(self, options: dict[str, str], node: str) -> str:  # type: ignore[override]
        """Named by the wire."""
        return f"up-{options['wire']}"
