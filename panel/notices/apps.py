"""Django's entry for the notices app."""

from django.apps import AppConfig


class NoticesConfig(AppConfig):
    """The notices app."""

    name = "panel.notices"

    def ready(self) -> None:
        """Register the app's kind of object."""
        from panel.core import kinds

        kinds.register(
            kinds.Kind("problem", "problems", "problem", topic_right="cluster.view"),
        )
