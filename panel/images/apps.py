"""Django's entry for the images room."""

from django.apps import AppConfig


class ImagesConfig(AppConfig):
    """The images room."""

    name = "panel.images"
