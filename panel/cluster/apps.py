"""Django's entry for the cluster app."""

from django.apps import AppConfig


class ClusterConfig(AppConfig):
    """The cluster app: the cluster, its nodes, and what can be done with them."""

    name = "panel.cluster"

    def ready(self) -> None:
        """Register the app's kinds of objects and operations."""
        from panel.cluster import operations, selectors
        from panel.core import kinds
        from panel.core.kinds import Kind
        from panel.tasks import registry

        kinds.register(
            Kind("cluster", "cluster", "cluster", only=1, find=selectors.find_cluster, lock_order=10),
            Kind(
                "node",
                "nodes",
                "node",
                page="/nodes/{}",
                find=selectors.find_node,
                find_all=selectors.find_bare_nodes,
                search=selectors.search,
                node_id=lambda node: node.pk,
                remove="node.remove",
                topic_right="cluster.view",
                lock_order=30,
            ),
        )
        registry.register(*operations.ALL)
