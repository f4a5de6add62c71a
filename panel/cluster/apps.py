"""Django's entry for the cluster app."""

from django.apps import AppConfig


class ClusterConfig(AppConfig):
    """The cluster app: tells the task engine of nodes and of what can be done with them."""

    name = "panel.cluster"

    def ready(self) -> None:
        """Register the app's subject and operations."""
        from panel.cluster import operations, selectors
        from panel.tasks import registry, subjects

        subjects.register(subjects.Subject("node", find=selectors.find_node, node_id=lambda node: node.pk))
        registry.register(*operations.ALL)
