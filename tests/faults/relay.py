"""A relay between vmwatch-node and vmwatch-master that loses, delays, doubles and reorders messages.

Below ZeroMQ, TCP would mend what netem does to packets: neither daemon would ever see a message twice or out
of order. Here they do.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time

import zmq

LOST, DOUBLED, DELAYED = 0.1, 0.1, 0.3
LONGEST_DELAY = 0.7


class Relay:
    """Passes whole messages on; `seed` decides what happens to each while `wild`."""

    def __init__(self, listen: str, to: str, seed: int) -> None:
        self.wild = False
        self.random = random.Random(seed)
        self.over = threading.Event()
        self._to = to
        self._in = zmq.Context.instance().socket(zmq.PULL)
        self._in.bind(listen)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass nothing on any more."""
        self.over.set()
        self._thread.join()

    def _run(self) -> None:
        out = zmq.Context.instance().socket(zmq.PUSH)
        out.connect(self._to)
        waiting: list[tuple[float, int, list[bytes]]] = []
        numbers = itertools.count()
        try:
            while not self.over.is_set():
                while self._in.poll(5):
                    frames = self._in.recv_multipart()
                    for delay in self._fates():
                        heapq.heappush(waiting, (time.monotonic() + delay, next(numbers), frames))
                while waiting and (waiting[0][0] <= time.monotonic() or not self.wild):
                    try:
                        out.send_multipart(waiting[0][2], zmq.DONTWAIT)
                    except zmq.Again:
                        break
                    heapq.heappop(waiting)
        finally:
            self._in.close(0)
            out.close(0)

    def _fates(self) -> list[float]:
        """After how many seconds each copy of a message is passed on."""
        if not self.wild:
            return [0.0]
        if self.random.random() < LOST:
            return []
        copies = 2 if self.random.random() < DOUBLED else 1
        return [self.random.uniform(0, LONGEST_DELAY) if self.random.random() < DELAYED else 0.0 for _ in range(copies)]
