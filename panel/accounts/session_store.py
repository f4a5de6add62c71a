"""Where browsers' sessions are kept: rows that know their user, so that they can be listed and ended.

Django's session engine (SESSION_ENGINE). It keeps a hash of the key; the key itself is in the browser's cookie alone.
Who begins and ends sessions: sessions.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from panel.accounts.models import BrowserSession, User
from panel.core import live
from panel.core.purging import delete_in_batches
from panel.core.rows import Prepared

SEEN_EVERY = timedelta(minutes=1)
"""How exactly it is known when a session was last used; a write with every request would be dear."""
BY_DIGEST = Prepared(lambda known: BrowserSession.objects.filter(pk=known), "a digest")


def digest(key: str) -> str:
    """What is kept of a session's key. It is random and long, so a plain hash is as good as a slow one."""
    return hashlib.sha256(key.encode()).hexdigest()


_others: list[Callable[[User], object]] = []


def on_ended(function: Callable[[User], object]) -> None:
    """Have sessions of another kind ended with the browsers'; for apps above, from their AppConfig.ready()."""
    _others.append(function)


def end_others_of(user: User) -> None:
    """End the user's sessions that are no browser's."""
    for function in _others:
        function(user)


def drop_all(user: User) -> None:
    """End what the user is signed in to, others' accounts too: their password, level or leave to come in changed."""
    opened = BrowserSession.objects.filter(impersonated_by=user).values_list("user_id", flat=True)
    for user_id in {user.pk, *opened}:
        live.tell_rights(user_id)
    BrowserSession.objects.filter(Q(user=user) | Q(impersonated_by=user)).delete()
    end_others_of(user)


def user_of(session_key: str | None) -> User | None:
    """Who is signed in by this session as it is now; None for one that ended, or whose user is not let in."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active else None


class SessionStore(SessionBase):
    """One session. The asynchronous methods are the base's, which call these in a thread."""

    def load(self) -> dict[str, Any]:
        """What the session holds; nothing for one that ended."""
        now = timezone.now()
        row = BY_DIGEST.first(digest(self.session_key or ""))
        if row is None or row.expires_at <= now:
            self._session_key = None
            return {}
        if now - row.last_seen_at > SEEN_EVERY:
            BrowserSession.objects.filter(pk=row.pk).update(last_seen_at=now)
        return self.decode(row.data)

    def exists(self, session_key: str) -> bool:
        """Whether there is a session of that key."""
        return BrowserSession.objects.filter(pk=digest(session_key)).exists()

    def create(self) -> None:
        """A row for a new key."""
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        """Keep what it holds; raises CreateError for a key in use, UpdateError for a session that was ended."""
        if self.session_key is None:
            self.create()
            return
        data: dict[str, Any] = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        values = {
            "data": self.encode(data),
            "expires_at": self.get_expiry_date(),
            "user_id": data.get(SESSION_KEY),
            "impersonated_by_id": data.get("impersonated_by_id"),
            "by": data.get("by", ""),
            "address": data.get("address", ""),
            "agent": data.get("agent", ""),
        }
        pk = digest(self.session_key)
        if must_create:
            try:
                with transaction.atomic():
                    BrowserSession.objects.create(pk=pk, **values)
            except IntegrityError as error:
                raise CreateError from error
        elif not BrowserSession.objects.filter(pk=pk).update(**values):
            raise UpdateError

    def delete(self, session_key: str | None = None) -> None:
        """End this session, or the one of that key."""
        key = session_key or self.session_key
        if key is None:
            return
        row = BrowserSession.objects.filter(pk=digest(key)).only("user_id").first()
        if row is not None:
            row.delete()
            if row.user_id is not None:
                live.tell_rights(row.user_id)

    @classmethod
    def clear_expired(cls) -> None:
        """Forget sessions whose time is over, a bounded number at a time."""
        delete_in_batches(BrowserSession.objects.filter(expires_at__lt=timezone.now()).order_by("expires_at"))
