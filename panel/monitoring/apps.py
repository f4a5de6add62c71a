"""Django's entry for the monitoring app."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """The monitoring app: has its part on every node, its operations, and an eye on silence."""

    name = "panel.monitoring"

    def ready(self) -> None:
        """Register the app's part of a node, its operations, and what it does in every sweep."""
        from panel.cluster import nodes, parts
        from panel.core import kinds
        from panel.monitoring import operations
        from panel.monitoring.installing import finish_installations
        from panel.monitoring.node_part import PART
        from panel.monitoring.operations.configure import KIND
        from panel.monitoring.silence import SilenceWatch
        from panel.monitoring.statistics.ending import take_last
        from panel.monitoring.statistics.unread import keep_at_the_end
        from panel.monitoring.statistics.waiting import take_waiting
        from panel.monitoring.suspending import keep_off
        from panel.tasks import registry, worker
        from panel.vms.usage import on_ending

        parts.register("vmwatch", PART)
        kinds.register(KIND)
        registry.register(*operations.ALL)
        on_ending(keep_at_the_end)
        nodes.take_counters_by(take_last)
        worker.on_sweep(SilenceWatch())
        worker.on_sweep(finish_installations)
        worker.on_sweep(keep_off)
        worker.on_sweep(take_waiting)
