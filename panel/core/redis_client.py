"""The connection to Redis of a process. What stands in Redis may be lost at any time."""

from __future__ import annotations

from functools import lru_cache

import redis
from django.conf import settings


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """The process's connections; a question that is not answered within a second fails with a RedisError."""
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)
