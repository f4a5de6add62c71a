"""Django's entry for the storage app."""

from django.apps import AppConfig


class StorageConfig(AppConfig):
    """The storage app: has its part on every node."""

    name = "panel.storage"

    def ready(self) -> None:
        """Register the app's part of a node."""
        from panel.cluster import nodes, parts
        from panel.storage.node_part import PART
        from panel.storage.operations import ALL
        from panel.storage.selectors import known_pools
        from panel.tasks import registry

        parts.register("storage", PART)
        nodes.tell_pools_by(known_pools)
        registry.register(*ALL)
