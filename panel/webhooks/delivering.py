"""Sending beside the worker's tasks: a queue and threads of its own, in the process that sweeps.

A slow address holds up no task, and one owner's addresses no other's: each has a share of the threads, and owners take
turns. What waits here is lost with the process; the next sweep finds it in the database.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable

from django.db import DatabaseError, connection

from panel.webhooks import sending

log = logging.getLogger(__name__)
THREADS = 8
OF_ONE_OWNER = 2
"""How many of an owner's deliveries are under way at a time."""


class Deliverer:
    """Carries out deliveries, at most `threads` at a time and `share` of one owner."""

    def __init__(
        self, send: Callable[[int], object] = sending.send, threads: int = THREADS, share: int = OF_ONE_OWNER
    ) -> None:
        self.send, self.threads, self.share = send, threads, share
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[int]] = {}
        self._known: set[int] = set()
        self._at_work: Counter[int] = Counter()

    def offer(self, due: Iterable[tuple[int, int]]) -> None:
        """Send these, given as (delivery, owner), but those that wait here or are under way."""
        with self._lock:
            for delivery_id, owner_id in due:
                if delivery_id not in self._known:
                    self._known.add(delivery_id)
                    self._waiting.setdefault(owner_id, deque()).append(delivery_id)
            while self._at_work.total() < self.threads and (taken := self._next()) is not None:
                threading.Thread(target=self._work, args=taken, name="delivery", daemon=True).start()

    def _next(self) -> tuple[int, int] | None:
        """Take the next one whose owner has a thread left; the owner goes to the end of the row."""
        for owner_id, row in self._waiting.items():
            if self._at_work[owner_id] < self.share:
                delivery_id = row.popleft()
                del self._waiting[owner_id]
                if row:
                    self._waiting[owner_id] = row
                self._at_work[owner_id] += 1
                return delivery_id, owner_id
        return None

    def _work(self, delivery_id: int, owner_id: int) -> None:
        taken: tuple[int, int] | None = (delivery_id, owner_id)
        try:
            while taken is not None:
                self._send_one(taken[0])
                with self._lock:
                    self._known.discard(taken[0])
                    self._at_work[taken[1]] -= 1
                    taken = self._next()
        finally:
            connection.close()

    def _send_one(self, delivery_id: int) -> None:
        try:
            self.send(delivery_id)
        except DatabaseError as error:
            log.error("delivery %s: the database failed (%s); it is tried again", delivery_id, error)
            connection.close()
        except Exception:
            # The thread serves others too.
            log.exception("delivery %s broke; it is tried again", delivery_id)
