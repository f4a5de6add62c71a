"""Django's entry for the network app."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    """The network app: has its part on every node."""

    name = "panel.network"

    def ready(self) -> None:
        """Register the app's part of a node."""
        from panel.cluster import parts
        from panel.network.node_part import PART

        parts.register("network", PART)
