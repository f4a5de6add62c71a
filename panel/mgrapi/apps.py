"""Django's entry for the classic API."""

from django.apps import AppConfig


class MgrapiConfig(AppConfig):
    """The classic API: it has its sessions in the database."""

    name = "panel.mgrapi"

    def ready(self) -> None:
        """Sessions of the classic API end with the browsers'."""
        from panel.accounts import session_store
        from panel.mgrapi import sessions

        session_store.on_ended(sessions.end_all)
