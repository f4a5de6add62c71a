"""Django's entry for the web room."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """The web room."""

    name = "panel.web"
