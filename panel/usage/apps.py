"""Django's entry for the usage app."""

from django.apps import AppConfig


class UsageConfig(AppConfig):
    """The usage app."""

    name = "panel.usage"
