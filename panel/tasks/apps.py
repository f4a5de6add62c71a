"""Django's entry for the tasks app."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The tasks app."""

    name = "panel.tasks"
