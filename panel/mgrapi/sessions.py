"""Sessions of the classic API: begun by `func=auth`, ended by `func=exit` or an hour without a call."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.models import User
from panel.accounts.tokens import digest
from panel.core.errors import BadCredentials
from panel.mgrapi.models import ClassicSession

IDLE = timedelta(hours=1)
HANDED_OVER_WITHIN = timedelta(minutes=10)
"""As long as a one-time key is good: what a billing server begins for a browser is used at once."""
ENDED = "The session has ended."
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
    found = _find(text)
    if found.address != address:
        raise BadCredentials(ENDED)
    now = timezone.now()
    if now - found.used_at > USED_EVERY:
        ClassicSession.objects.filter(pk=found.pk).update(used_at=now)
    return found.user


def _find(text: str) -> ClassicSession:
    """The session, wherever it is used; raises BadCredentials for one that has ended."""
    found = ClassicSession.objects.select_related("user__role").filter(digest=digest(text)).first()
    if (
        found is None
        or timezone.now() - found.used_at > IDLE
        or not found.user.is_active
        or not hmac.compare_digest(found.proof, found.user.get_session_auth_hash())
    ):
        raise BadCredentials(ENDED)
    return found


@transaction.atomic
def hand_over(text: str, already: object) -> User | None:
    """Whom the session signs a browser in as, whose address is another than that of the billing server that began it.

    It does so once, soon after its begin, for a user who is no administrator; that is recorded. None where the browser
    is that user's `already`. The session itself goes on where it was begun.

    Raises BadCredentials.
    """
    found = _find(text)
    if already == found.user:
        return None
    if found.user.sees_all:
        raise BadCredentials("Sessions of administrators sign no browser in.")
    now = timezone.now()
    fresh = ClassicSession.objects.filter(pk=found.pk, handed_over_at=None, created_at__gt=now - HANDED_OVER_WITHIN)
    if not fresh.update(handed_over_at=now):
        raise BadCredentials("This link has signed a browser in already, or its time is over.")
    user, after = found.user, {"begun_from": found.address}
    journal.record(user, "session.handed_over", "user", user.pk, user.name, owner_id=user.pk, after=after)
    return user


def end(text: str) -> None:
    """The session is over; over already is success."""
    ClassicSession.objects.filter(digest=digest(text)).delete()


def end_all(user: User) -> None:
    """All sessions of the user are over."""
    ClassicSession.objects.filter(user=user).delete()


def purge(now: datetime) -> None:
    """Forget sessions that idled too long."""
    ClassicSession.objects.filter(used_at__lt=now - IDLE).delete()
