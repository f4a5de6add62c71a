"""Cron entries of the classic API."""

from __future__ import annotations

from django.utils import timezone

from panel.mgrapi import sessions


def purge() -> None:
    """Forget sessions that are over."""
    sessions.purge(timezone.now())
