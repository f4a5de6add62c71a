"""Django's entry for the classic API."""

from django.apps import AppConfig


class MgrapiConfig(AppConfig):
    """The classic API: it has its sessions in the database."""

    name = "panel.mgrapi"
