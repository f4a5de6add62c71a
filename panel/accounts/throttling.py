"""Guessing passwords, keys and codes is stopped: each try counts as wrong, in Redis, before it is looked at.

So of many tries at the same moment no more are looked at than of as many one after the other. While Redis is away
nothing is counted: signing in goes on.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from panel.accounts import journal
from panel.accounts.models import User
from panel.core.addresses import counted_as
from panel.core.errors import Throttled
from panel.core.redis_client import client

log = logging.getLogger(__name__)

WRONG_ALLOWED = 10
WRONG_OF_ADDRESS = 50
"""Of all names together from one address; behind one there may be a whole office."""
WINDOW_SECONDS = 900
UNDER_WAY_SECONDS = 60
"""How long tries count whose process died while it looked at them."""
WAIT_SECONDS = 10.0
"""How long a try waits for those before it, which may be right and then count no more."""
LOOK_SECONDS = 0.02

_BEGIN = """
local wrong, under_way = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(redis.call('GET', KEYS[2]) or '0')
if wrong >= tonumber(ARGV[1]) then return 'locked' end
if wrong + under_way >= tonumber(ARGV[1]) then return 'wait' end
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 'go'
"""
_END = """
if tonumber(redis.call('GET', KEYS[2]) or '0') > 0 then redis.call('DECR', KEYS[2]) end
if ARGV[1] == '0' then return 0 end
local wrong = redis.call('INCR', KEYS[1])
if wrong == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return wrong
"""


class Attempt:
    """One try. One that is `locked` must not be looked at."""

    def __init__(self, *, locked: bool) -> None:
        self.locked = locked
        self.counts = not locked

    def forgive(self) -> None:
        """It was right, or was not looked at after all."""
        self.counts = False


@contextmanager
def attempt(user: User | None, *subject: str, allowed: int = WRONG_ALLOWED) -> Iterator[Attempt]:
    """A try at what `subject` names, which was wrong unless the body forgives it, or raises Throttled.

    The last one that is looked at stands in the journal of the user, if there is such a user.
    """
    wrong, under_way = _keys(subject)
    locked = not _begin(wrong, under_way, allowed)
    made = Attempt(locked=locked)
    try:
        yield made
    except Throttled:
        made.forgive()
        raise
    finally:
        counted = 0 if locked else _end(wrong, under_way, made.counts)
        if counted == allowed and user is not None:
            after = {"wrong": subject[0], "seconds": WINDOW_SECONDS}
            journal.record(None, "session.locked", "user", user.pk, user.name, owner_id=user.pk, after=after)


@contextmanager
def from_address(address: str) -> Iterator[Attempt]:
    """A try by whoever calls from there, whatever name they give; raises Throttled after too many wrong ones."""
    if not address:
        # This machine's own programs.
        yield Attempt(locked=False)
        return
    with attempt(None, "address", counted_as(address), allowed=WRONG_OF_ADDRESS) as made:
        if made.locked:
            log.warning("too many wrong passwords from %s", address)
            message = "Too many sign-ins from your address were wrong. Try again in a quarter of an hour."
            raise Throttled(message, limit=WRONG_OF_ADDRESS, seconds=WINDOW_SECONDS)
        yield made


def _begin(wrong: str, under_way: str, allowed: int) -> bool:
    """Whether the try may be looked at; it counts from now on."""
    until = time.monotonic() + WAIT_SECONDS
    while (answer := _run(_BEGIN, wrong, under_way, allowed, UNDER_WAY_SECONDS)) == b"wait":
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_SECONDS)
    return bool(answer != b"locked")


def _end(wrong: str, under_way: str, counts: bool) -> int:
    """How many were wrong by now; 0 for a try that was not."""
    return int(_run(_END, wrong, under_way, int(counts), WINDOW_SECONDS) or 0)


def _run(script: str, *words: Any) -> Any:
    try:
        return client().eval(script, 2, *words)
    except redis.RedisError as error:
        log.warning("wrong passwords are not counted: %s", error)
        return None


def _keys(subject: tuple[str, ...]) -> tuple[str, str]:
    # Hashed, since a name is whatever somebody typed.
    name = hashlib.sha256(" ".join(subject).encode()).hexdigest()
    return f"vmpanel:wrong:{name}", f"vmpanel:trying:{name}"
