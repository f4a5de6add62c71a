"""Django's entry for the notices app."""

from django.apps import AppConfig


class NoticesConfig(AppConfig):
    """The notices app."""

    name = "panel.notices"

    def ready(self) -> None:
        """Register the app's kind of object."""
        from panel.core import kinds
        from panel.notices import selectors

        kinds.register(
            kinds.Kind("problem", "problems", "problem", find=selectors.find_problem, topic_right="cluster.view"),
        )
