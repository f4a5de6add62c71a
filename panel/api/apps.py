"""Django's entry for the api room."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The api room: looks after batches in every sweep."""

    name = "panel.api"

    def ready(self) -> None:
        """Register what the room does in every sweep."""
        from panel.api.batch_undo import settle
        from panel.tasks import worker

        worker.on_sweep(settle)
