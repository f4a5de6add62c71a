"""How many calls of either API a token and an address may make in a minute, counted in Redis.

Looked at before anything else is, so that a flood costs little. While Redis is away nobody is refused.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from django.conf import settings
from django.http import HttpRequest

from panel.core.addresses import counted_as
from panel.core.errors import Throttled
from panel.core.redis_client import client

log = logging.getLogger(__name__)
WINDOW = 60
COUNT_MORE = "_count_more_calls"
"""The attribute of a request by which what it holds is counted with it."""
AWAY_SECONDS = 5.0
"""How long Redis is not asked again after it failed: each question would hold a request up."""


@dataclass(frozen=True)
class Count:
    """What is left of the scarcer of the two limits."""

    limit: int
    used: int
    reset: int

    @property
    def exceeded(self) -> bool:
        """Whether this call is one too many."""
        return self.used > self.limit

    @property
    def error(self) -> Throttled:
        """What the caller is told then."""
        return Throttled(limit=self.limit, seconds=self.reset)

    @property
    def headers(self) -> dict[str, str]:
        """For the answer."""
        left = max(0, self.limit - self.used)
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(self.reset),
        }


def charge(request: HttpRequest, calls: int) -> None:
    """Count a request that holds many calls as so many, before the first is carried out; raises Throttled.

    What is too much is counted too, as single calls are. Nothing for a request that did not come by the middleware.
    """
    count_more: Callable[[int], Count | None] | None = getattr(request, COUNT_MORE, None)
    if count_more is None or calls < 2:
        return
    count = count_more(calls - 1)
    if count is not None and count.exceeded:
        raise count.error


def pass_on(request: HttpRequest, inner: HttpRequest) -> None:
    """Have what a request holds counted as its own."""
    if (count_more := getattr(request, COUNT_MORE, None)) is not None:
        setattr(inner, COUNT_MORE, count_more)


class Counter:
    """Counts calls; one that Redis failed leaves it alone for a while."""

    def __init__(self) -> None:
        self.away_until = 0.0

    def count(self, request: HttpRequest, calls: int) -> Count | None:
        """Count a request as so many calls; None where no limit is set, or Redis is away."""
        limits = {key: limit for key, limit in _keys(request) if limit > 0}
        if not limits or time.monotonic() < self.away_until:
            return None
        now = time.time()
        window, reset = int(now // WINDOW), WINDOW - int(now % WINDOW)
        try:
            with client().pipeline(transaction=False) as pipeline:
                for key in limits:
                    name = f"vmpanel:rate:{key}:{window}"
                    pipeline.incrby(name, calls)
                    pipeline.expire(name, 2 * WINDOW)
                used = pipeline.execute()[::2]
        except redis.RedisError as error:
            log.warning("calls are not counted: %s", error)
            self.away_until = time.monotonic() + AWAY_SECONDS
            return None
        counts = [Count(limit, int(each), reset) for limit, each in zip(limits.values(), used, strict=True)]
        return min(counts, key=lambda count: count.limit - count.used)


def _keys(request: HttpRequest) -> list[tuple[str, int]]:
    config = settings.CONFIG
    address = counted_as(str(request.META.get("REMOTE_ADDR", "")))
    found = [(f"address:{address}", config.rate_limit_address)]
    if given := request.headers.get("Authorization"):
        # Never the token itself: Redis's keys are read by whoever looks into it.
        found.append((f"token:{hashlib.sha256(given.encode()).hexdigest()[:32]}", config.rate_limit_token))
    return found
