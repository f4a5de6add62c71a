"""Django's entry for the network app."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    """The network app: has its part on every node."""

    name = "panel.network"

    def ready(self) -> None:
        """Register the app's kind of object and part of a node."""
        from panel.cluster import parts
        from panel.core import kinds
        from panel.network.node_part import PART

        kinds.register(kinds.Kind("network", "networks", "network", lock_order=50))
        parts.register("network", PART)
