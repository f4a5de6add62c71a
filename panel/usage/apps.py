"""Django's entry for the usage room."""

from django.apps import AppConfig


class UsageConfig(AppConfig):
    """The usage room."""

    name = "panel.usage"
