"""The gate before the panel's threads: a bounded number of requests is carried out, others wait or are refused.

Each thread keeps its connection to the database. Callers take turns, so that one with hundreds of requests holds up
nobody else; when too many wait, the newest of whoever waits with the most is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

Place = asyncio.Future[Executor]


class Crowded(Exception):
    """Too many requests wait, or this one has waited too long: the caller may come again in a moment."""


class Turn:
    """A request's hold on a thread."""

    def __init__(self, gate: Gate, executor: Executor) -> None:
        self.gate, self.executor = gate, executor
        self._over = False

    def end(self) -> None:
        """The thread is the next one's, as soon as it is done with what it was given."""
        if self._over:
            return
        self._over = True
        loop = asyncio.get_running_loop()
        done = self.executor.submit(lambda: None)
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(self.gate.free, self.executor))


class Gate:
    """`threads` requests at a time, `waiting` behind them, each of these for `seconds` at most. For one event loop."""

    def __init__(
        self,
        threads: int,
        waiting: int,
        seconds: float,
        name: str = "request",
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.waiting, self.seconds = waiting, seconds
        self._free: list[Executor] = [ThreadPoolExecutor(1, f"{name}-{number}", begin) for number in range(threads)]
        self._rows: dict[bytes, deque[Place]] = {}
        self._count = 0

    async def enter(self, caller: bytes) -> Turn:
        """A thread for a request of the caller; raises Crowded."""
        if self._free:
            return Turn(self, self._free.pop())
        if self._count >= self.waiting:
            self._make_room(caller)
        place: Place = asyncio.get_running_loop().create_future()
        self._rows.setdefault(caller, deque()).append(place)
        self._count += 1
        try:
            await asyncio.wait([place], timeout=self.seconds)
            if not place.done():
                raise Crowded
            return Turn(self, place.result())
        except asyncio.CancelledError:
            if place.done() and place.exception() is None:
                self.free(place.result())
            raise
        finally:
            self._leave_row(caller, place)

    def free(self, executor: Executor) -> None:
        """Give the thread to whoever is next: the callers that wait take turns."""
        if not self._rows:
            self._free.append(executor)
            return
        caller, row = next(iter(self._rows.items()))
        place = row[0]
        self._leave_row(caller, place)
        if caller in self._rows:
            self._rows[caller] = self._rows.pop(caller)
        place.set_result(executor)

    def _make_room(self, caller: bytes) -> None:
        """Refuse the newest of the caller that waits with the most; raises Crowded where that is this one."""
        longest = max(self._rows, key=lambda each: len(self._rows[each]), default=caller)
        if len(self._rows.get(longest, ())) <= len(self._rows.get(caller, ())) + 1:
            raise Crowded
        place = self._rows[longest][-1]
        self._leave_row(longest, place)
        place.set_exception(Crowded())

    def _leave_row(self, caller: bytes, place: Place) -> None:
        row = self._rows.get(caller)
        if row is not None and place in row:
            row.remove(place)
            self._count -= 1
            if not row:
                del self._rows[caller]
