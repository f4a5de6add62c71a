"""Cron's entries of the accounts room."""

from __future__ import annotations

from django.conf import settings
from django.core.management import call_command

from panel.accounts import journal
from panel.accounts.session_store import SessionStore


def purge() -> None:
    """Forget journal entries older than they are kept, and sessions that are over, a bounded number at a time."""
    journal.purge()
    SessionStore.clear_expired()


def sync_directory() -> None:
    """Disable the users who are gone from the directory, if there is one."""
    if settings.CONFIG.ldap_uri:
        call_command("sync_directory")
