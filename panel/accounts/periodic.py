"""Cron's entries of the accounts room."""

from __future__ import annotations

from panel.accounts import journal


def purge() -> None:
    """Forget journal entries that are older than they are kept, a bounded number at a time."""
    journal.purge()
