"""Cron's entries of the accounts app."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.models import SigninKey, Token
from panel.accounts.session_store import SessionStore
from panel.core.purging import delete_in_batches

EXPIRED_TOKENS_KEPT = timedelta(days=30)
"""So long their users see that they are over, and when they were used last."""


def purge() -> None:
    """Forget old journal entries, and sessions, sign-in keys and tokens that are over, a bounded number at a time."""
    journal.purge()
    SessionStore.clear_expired()
    now = timezone.now()
    delete_in_batches(SigninKey.objects.filter(expires_at__lt=now).order_by("expires_at"))
    delete_in_batches(Token.objects.filter(expires_at__lt=now - EXPIRED_TOKENS_KEPT).order_by("pk"))


def sync_directory() -> None:
    """Disable the users who are gone from the directory, if there is one."""
    if settings.CONFIG.ldap_uri:
        call_command("sync_directory")
