"""Wrong passwords and codes are counted in Redis, and guessing is stopped.

While Redis is away nothing is counted: signing in goes on.
"""

from __future__ import annotations

import hashlib
import logging

import redis
from django.conf import settings

from panel.accounts import journal
from panel.accounts.models import User

log = logging.getLogger(__name__)

WRONG_ALLOWED = 10
WINDOW_SECONDS = 900


def is_locked(*subject: str) -> bool:
    """Whether so many were wrong of late that no more are looked at."""
    try:
        value = _redis().get(_key(subject))
    except redis.RedisError:
        return False
    return isinstance(value, bytes) and int(value) >= WRONG_ALLOWED


def count(user: User | None, *subject: str) -> None:
    """One more was wrong; the last one that is looked at stands in the journal of the user, if there is such a user."""
    try:
        with _redis().pipeline() as pipeline:
            pipeline.incr(_key(subject))
            pipeline.expire(_key(subject), WINDOW_SECONDS, nx=True)
            counted = pipeline.execute()[0]
    except redis.RedisError as error:
        log.warning("a wrong %s was not counted: %s", subject[0], error)
        return
    if counted == WRONG_ALLOWED and user is not None:
        after = {"wrong": subject[0], "seconds": WINDOW_SECONDS}
        journal.record(None, "session.locked", "user", user.pk, user.name, owner_id=user.pk, after=after)


def _key(subject: tuple[str, ...]) -> str:
    # Hashed, since a name is whatever somebody typed.
    return f"vmpanel:wrong:{hashlib.sha256(' '.join(subject).encode()).hexdigest()}"


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)
