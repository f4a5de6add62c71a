"""Live events to open pages, through Redis publish/subscribe.

Best effort by design: the database is the truth, pages read it again when they (re)connect, so a
lost event costs freshness only. Call publish() in transaction.on_commit, never before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings

CHANNEL = "vmpanel:live"
log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)


def publish(topic: str, payload: dict[str, Any]) -> None:
    """Tell open pages that `topic` ("vm", "node", "task", "problem") changed; `payload` has at least its `id`.

    Never raises: a page that misses this reads the database later.
    """
    publish_many(topic, [payload])


def publish_many(topic: str, payloads: Sequence[dict[str, Any]]) -> None:
    """publish() for many at once, in one exchange with Redis."""
    try:
        with _client().pipeline(transaction=False) as pipeline:
            for payload in payloads:
                pipeline.publish(CHANNEL, json.dumps({"topic": topic, **payload}, default=str))
            pipeline.execute()
    except redis.RedisError as error:
        log.warning("%d live events were lost: %s", len(payloads), error)
