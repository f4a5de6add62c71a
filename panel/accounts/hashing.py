"""How passwords are hashed: by Argon2, few at a time, so that many who sign in at once do not take all the memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import Argon2PasswordHasher

from panel.core.errors import Throttled

AT_ONCE = 2
"""Hashes of one process at the same moment; each takes 100 MiB and all the processor that it gets."""
WAIT_SECONDS = 15.0
"""How long one waits for its turn: some two hundred have theirs meanwhile."""
_turns = threading.BoundedSemaphore(AT_ONCE)


class BoundedHasher(Argon2PasswordHasher):
    """Django's own, which waits for its turn; raises Throttled where there are too many before it."""

    def encode(self, password: str, salt: str) -> str:
        """The password as it is stored."""
        with _turn():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Whether it is the password that is stored."""
        with _turn():
            return super().verify(password, encoded)


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=WAIT_SECONDS):
        message = "Too many are signing in at this moment. Try again in a moment."
        raise Throttled(message, limit=AT_ONCE, seconds=int(WAIT_SECONDS))
    try:
        yield
    finally:
        _turns.release()
