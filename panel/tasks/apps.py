"""Django's entry for the tasks app."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The tasks app."""

    name = "panel.tasks"

    def ready(self) -> None:
        """Register the app's kind of object."""
        from panel.core import kinds
        from panel.tasks import selectors

        kinds.register(
            kinds.Kind(
                "task", "tasks", "task", page="/tasks/{}", topic_right="tasks.view", owned=True, search=selectors.search
            ),
        )
