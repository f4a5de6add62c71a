"""Django's entry for the storage room."""

from django.apps import AppConfig


class StorageConfig(AppConfig):
    """The storage room: has its part on every node."""

    name = "panel.storage"

    def ready(self) -> None:
        """Register the room's part of a node."""
        from panel.cluster import parts
        from panel.storage.node_part import PART

        parts.register("storage", PART)
