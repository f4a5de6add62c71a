"""Signed-in browsers: sessions begun and ended, and an administrator who works in a user's account.

Where they are kept: session_store.py. Tokens are no sessions; they end by being revoked.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import SESSION_KEY, login, update_session_auth_hash
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from panel.accounts import journal
from panel.accounts.guards import refuse_impersonated, refuse_scoped, require_power_over
from panel.accounts.models import BrowserSession, User
from panel.accounts.session_store import digest, end_others_of
from panel.core import live, permissions
from panel.core.errors import AccessDenied, NotFound

LONGEST_AGENT = 255
MOST = 200
"""Sessions of one user that are listed: the latest."""


@transaction.atomic
def begin(request: HttpRequest, user: User, by: str, *, impersonated_by: User | None = None) -> None:
    """The browser is signed in as `user`, and nothing is left of before.

    The user proved who they are `by` “password”, “code”, “security key” or (of one use) “key”; “opened” and “back”
    are an administrator's ways. `impersonated_by` is the administrator who works in the user's account; see open_as().
    """
    request.session.flush()
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.update(
        {
            "by": by,
            "address": str(request.META.get("REMOTE_ADDR", ""))[:45],
            "agent": request.headers.get("User-Agent", "")[:LONGEST_AGENT],
        }
    )
    if impersonated_by is not None:
        request.session.update(
            {
                "impersonated_by": impersonated_by.name,
                "impersonated_by_id": impersonated_by.pk,
                "impersonated_by_hash": impersonated_by.get_session_auth_hash(),
            }
        )
    request.session.save()
    if impersonated_by is None:
        _record("session.begin", user, user, by)
    else:
        _record("user.open", impersonated_by, user, by)


def end(request: HttpRequest) -> None:
    """The browser is signed out."""
    user = request.user
    if isinstance(user, User):
        _record("session.end", user, user, "sign-out")
    request.session.flush()


def list_sessions(user: User) -> QuerySet[BrowserSession]:
    """The user's sessions that are good still, the latest first; callers take MOST at the most."""
    now = timezone.now()
    found = BrowserSession.objects.filter(user=user, expires_at__gt=now).select_related("impersonated_by")
    return found.order_by("-last_seen_at", "pk")


def is_current(request: HttpRequest, session: BrowserSession) -> bool:
    """Whether it is the one that asks."""
    return request.session.session_key is not None and session.pk == digest(request.session.session_key)


@transaction.atomic
def end_one(viewer: User, user: User, session_id: str) -> None:
    """End one of the user's sessions: the viewer's own, or with users.manage another's.

    Raises AccessDenied and NotFound.
    """
    require_sight(viewer, user)
    if not BrowserSession.objects.filter(user=user, pk=session_id).delete()[0]:
        raise NotFound(object="session", id=session_id)
    live.tell_rights(user.pk)
    _record("session.end", viewer, user, "revoked")


@transaction.atomic
def end_others(viewer: User, user: User, keep: HttpRequest | None = None) -> int:
    """End all sessions of the user, the classic API's too, but for the one that asks by `keep`.

    Answers how many browsers' there were. Raises AccessDenied.
    """
    require_sight(viewer, user)
    found = BrowserSession.objects.filter(user=user)
    if keep is not None and keep.session.session_key is not None:
        found = found.exclude(pk=digest(keep.session.session_key))
    count = found.delete()[0]
    end_others_of(user)
    live.tell_rights(user.pk)
    if count:
        journal.record(
            viewer, "session.end", "user", user.pk, user.name, owner_id=user.pk, after={"by": "revoked", "count": count}
        )
    return count


def require_sight(viewer: User, user: User) -> None:
    """Raise AccessDenied unless the viewer may see and end the user's sessions: their own, or with users.manage."""
    if viewer.pk == user.pk:
        refuse_scoped(viewer)
    else:
        permissions.require(viewer, "users.manage")
        require_power_over(viewer, user)


def renew(request: HttpRequest, user: User) -> None:
    """This browser, if it was, stays signed in though the user's password is another now; its key changes."""
    if request.session.get(SESSION_KEY) == str(user.pk):
        update_session_auth_hash(request, user)


def open_as(request: HttpRequest, viewer: User, user: User) -> None:
    """The administrator's browser works in the user's account from now on; go_back() ends that.

    Raises AccessDenied: without the right users.open or power over the user; from an account that was opened itself.
    """
    permissions.require(viewer, "users.open")
    require_power_over(viewer, user)
    refuse_impersonated()
    if not user.is_active or user.pk == viewer.pk:
        raise AccessDenied("Nobody works in this account.", permission="users.open")
    begin(request, user, "opened", impersonated_by=viewer)


def go_back(request: HttpRequest) -> User:
    """The administrator who opened the account is signed in as themselves again.

    Raises AccessDenied in a session that nobody opened, or whose administrator must not come in any more.
    """
    opener = User.objects.filter(pk=request.session.get("impersonated_by_id", 0), is_active=True).first()
    proof = request.session.get("impersonated_by_hash", "")
    if opener is None or not constant_time_compare(proof, opener.get_session_auth_hash()):
        raise AccessDenied("There is nobody to go back to: sign in again.", permission="users.open")
    begin(request, opener, "back")
    return opener


def _record(action: str, viewer: User, user: User, by: str) -> None:
    journal.record(viewer, action, "user", user.pk, user.name, owner_id=user.pk, after={"by": by})
