"""Django's entry for the tasks room."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The tasks room."""

    name = "panel.tasks"
