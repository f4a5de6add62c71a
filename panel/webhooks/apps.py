"""Django's entry for the webhooks app."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """The webhooks app: collects events in every sweep, and has due deliveries sent."""

    name = "panel.webhooks"

    def ready(self) -> None:
        """Register what the app does in every sweep."""
        from panel.tasks import worker
        from panel.webhooks.periodic import collect_and_send

        worker.on_sweep(collect_and_send)
