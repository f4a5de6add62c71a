"""Django's entry for the webhooks app."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """The webhooks app: collects events in every sweep, and has due deliveries sent."""

    name = "panel.webhooks"

    def ready(self) -> None:
        """Register the app's kind of object, and what it does in every sweep."""
        from panel.core import kinds
        from panel.tasks import worker
        from panel.webhooks.periodic import collect_and_send

        kinds.register(kinds.Kind("webhook", "webhooks", "webhook", topic_right="account.view", owned=True))
        worker.on_sweep(collect_and_send)
