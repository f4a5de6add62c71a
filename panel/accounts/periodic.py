"""Cron's entries of the accounts room."""

from __future__ import annotations

from panel.accounts import journal
from panel.accounts.session_store import SessionStore


def purge() -> None:
    """Forget journal entries that are older than they are kept, and sessions that are over, a bounded number at a time."""
    journal.purge()
    SessionStore.clear_expired()
