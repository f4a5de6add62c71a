"""Django's entry for the monitoring room."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """The monitoring room: has its part on every node."""

    name = "panel.monitoring"

    def ready(self) -> None:
        """Register the room's part of a node."""
        from panel.cluster import parts
        from panel.monitoring.node_part import PART

        parts.register("vmwatch", PART)
