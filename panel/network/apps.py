"""Django's entry for the network app."""

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    """The network app: has its part on every node."""

    name = "panel.network"

    def ready(self) -> None:
        """Register the app's kind of object, operations and part of a node."""
        from panel.cluster import parts
        from panel.core import kinds
        from panel.network import selectors
        from panel.network.node_part import PART
        from panel.network.operations import ALL
        from panel.tasks import registry

        kinds.register(
            kinds.Kind(
                "network",
                "networks",
                "network",
                page="/networks/{}",
                find=selectors.find_network,
                search=selectors.search,
                remove="network.remove",
                topic_right="cluster.view",
                lock_order=50,
            )
        )
        parts.register("network", PART)
        registry.register(*ALL)
