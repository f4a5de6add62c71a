"""What vmwatch-node has still to say: kept in order while the master is away, in bounded memory."""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass
from typing import Any, Deque, List

import zmq

from vmwatch import wire
from vmwatch.config import NodeConfig

WAITING = 10_000
"""Messages kept while the master is away; the next picture says what the dropped ones would have."""
HANDED_TO_ZEROMQ = 1000
LINGER_MS = 1000


@dataclass(frozen=True)
class _Waiting:
    sequence: int
    kind: str
    domains: List[wire.DomainState]


class Outbox:
    """The way to the master. Messages get their number when they are put, their time when they leave.

    Of the pictures that wait only the newest is kept: it says all that the others would.
    """

    def __init__(self, config: NodeConfig, epoch: int) -> None:
        self.epoch = epoch
        self.sequence = 0
        self.dropped = 0
        self.away = False
        self._came_back = False
        self._waiting: Deque[_Waiting] = collections.deque()
        self._socket: Any = None
        self.connect(config)

    def __len__(self) -> int:
        return len(self._waiting)

    def connect(self, config: NodeConfig) -> None:
        """Speak as this configuration says from now on; what waits goes the new way."""
        self.close()
        self._config = config
        self._socket = zmq.Context.instance().socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, HANDED_TO_ZEROMQ)
        # Nothing is given to a connection that is not there: what waits, waits here, where it is bounded.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # A master that vanished without a word (a cut network) is noticed, and connected to anew.
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        self._socket.connect(config.connect)

    def close(self) -> None:
        """Give what was handed over a moment to leave, and stop."""
        if self._socket is not None:
            self._socket.close(LINGER_MS)
            self._socket = None

    def put(self, kind: str, domains: List[wire.DomainState]) -> None:
        """Have a message sent, now if the master is there."""
        if kind == wire.PICTURE:
            self._waiting = collections.deque(each for each in self._waiting if each.kind != wire.PICTURE)
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self.sequence += 1
        self._waiting.append(_Waiting(self.sequence, kind, domains))
        self.flush()

    def flush(self) -> None:
        """Send what waits, never blocking, and look whether the master is there."""
        there = bool(self._socket.poll(0, zmq.POLLOUT))
        while there and self._waiting:
            there = self._send(self._waiting[0])
            if there:
                self._waiting.popleft()
        self._came_back |= self.away and there
        self.away = not there

    def came_back(self) -> bool:
        """Whether the master came back since this was asked last: what was on its way when it went may be lost."""
        answer, self._came_back = self._came_back, False
        return answer

    def _send(self, waiting: _Waiting) -> bool:
        message = wire.Message(
            self._config.node_id, self.epoch, waiting.sequence, time.time(), waiting.kind, waiting.domains
        )
        try:
            self._socket.send_multipart(wire.encode(message, self._config.secret), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True
