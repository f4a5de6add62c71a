"""Signing in by name and password, the same for every door: guessing is stopped here."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from panel.accounts.models import User

log = logging.getLogger(__name__)

WRONG_ALLOWED = 10
WINDOW_SECONDS = 900


class PasswordBackend(ModelBackend):
    """Refuses a name from an address after WRONG_ALLOWED wrong passwords in WINDOW_SECONDS, right ones too.

    Counted by both, so that a stranger elsewhere cannot lock an administrator out. While Redis is
    away nothing is counted: signing in goes on.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The user of this name and password, else None; raises PermissionDenied, which Django answers as None."""
        key = _key(username or "", request)
        if _count(key) >= WRONG_ALLOWED:
            log.warning("too many wrong passwords for %r from %s", username, _address(request))
            raise PermissionDenied
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if isinstance(user, User):
            return user
        _add(key)
        return None


def _address(request: HttpRequest | None) -> str:
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""


def _key(name: str, request: HttpRequest | None) -> str:
    # Hashed, since the name is whatever somebody typed.
    return f"vmpanel:wrong-password:{hashlib.sha256(f'{_address(request)} {name}'.encode()).hexdigest()}"


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)


def _count(key: str) -> int:
    try:
        value = _redis().get(key)
    except redis.RedisError:
        return 0
    return int(value) if isinstance(value, bytes) else 0


def _add(key: str) -> None:
    try:
        with _redis().pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECONDS, nx=True)
            pipeline.execute()
    except redis.RedisError as error:
        log.warning("a wrong password was not counted: %s", error)
