"""Django's entry for the api app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The api app: looks after batches in every sweep."""

    name = "panel.api"

    def ready(self) -> None:
        """Register what the app does in every sweep."""
        from panel.api.batch_undo import settle
        from panel.tasks import worker

        worker.on_sweep(settle)
