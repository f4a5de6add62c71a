"""Django's entry for the network room."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    """The network room: has its part on every node."""

    name = "panel.network"

    def ready(self) -> None:
        """Register the room's part of a node."""
        from panel.cluster import parts
        from panel.network.node_part import PART

        parts.register("network", PART)
