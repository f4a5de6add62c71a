"""Sessions of the classic API: begun by `func=auth`, ended by `func=exit` or an hour without a call."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from django.utils import timezone

from panel.accounts.models import User
from panel.accounts.tokens import digest
from panel.core.errors import BadCredentials
from panel.mgrapi.models import ClassicSession

IDLE = timedelta(hours=1)
USED_EVERY = timedelta(minutes=1)
"""How exactly a session's last use is known; a write with every call would be dear."""


def begin(user: User, address: str) -> str:
    """A new session of the user, for calls from this address alone; answers its id, which is shown this once."""
    text = secrets.token_urlsafe(24)
    ClassicSession.objects.create(
        user=user, address=address, digest=digest(text), proof=user.get_session_auth_hash(), used_at=timezone.now()
    )
    return text


def user_of(text: str, address: str) -> User:
    """Whose session this is.

    Raises BadCredentials for one that is unknown, idle too long, from another address, or of a user who is
    disabled or has another password since.
    """
    now = timezone.now()
    found = ClassicSession.objects.select_related("user__role").filter(digest=digest(text)).first()
    if (
        found is None
        or now - found.used_at > IDLE
        or found.address != address
        or not found.user.is_active
        or not hmac.compare_digest(found.proof, found.user.get_session_auth_hash())
    ):
        raise BadCredentials("The session has ended.")
    if now - found.used_at > USED_EVERY:
        ClassicSession.objects.filter(pk=found.pk).update(used_at=now)
    return found.user


def end(text: str) -> None:
    """The session is over; over already is success."""
    ClassicSession.objects.filter(digest=digest(text)).delete()


def end_all(user: User) -> None:
    """All sessions of the user are over."""
    ClassicSession.objects.filter(user=user).delete()


def purge(now: datetime) -> None:
    """Forget sessions that idled too long."""
    ClassicSession.objects.filter(used_at__lt=now - IDLE).delete()
