"""Django's entry for the storage app."""

from django.apps import AppConfig


class StorageConfig(AppConfig):
    """The storage app: storages, and its part on every node."""

    name = "panel.storage"

    def ready(self) -> None:
        """Register the app's kind of object, operations and part of a node."""
        from panel.cluster import nodes, parts
        from panel.core import kinds
        from panel.storage.node_part import PART
        from panel.storage.operations import ALL
        from panel.storage.selectors import known_pools
        from panel.tasks import registry

        kinds.register(kinds.Kind("pool", "pools", "storage", lock_order=40))
        parts.register("storage", PART)
        nodes.tell_pools_by(known_pools)
        registry.register(*ALL)
