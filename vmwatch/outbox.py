"""What vmwatch-node has still to say: events wait in order while the master is away, in bounded memory."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from typing import Any, Dict, List, NamedTuple, Optional

import zmq

from vmwatch import wire
from vmwatch.config import BadConfig, NodeConfig
from vmwatch.kept import Event, Kept

WAITING = 10_000
"""Events kept while the master is away; the journal tells the dropped ones again."""
HANDED_TO_ZEROMQ = 1000
LINGER_MS = 1000
ANEW_SECONDS = 5.0
"""How long a connection may not be there until it is made from scratch."""


class Reading(NamedTuple):
    """Counters, when they were read (time.monotonic()), and whether the domain did nothing any more."""

    at: float
    still: bool
    counted: wire.DomainStatistics


class Outbox:
    """The way to the master. Messages get their number when they are put, their time when they leave.

    Only events wait: what else there is to say is said anew when the master is there.
    """

    def __init__(self, config: NodeConfig, epoch: int) -> None:
        self.epoch = epoch
        self.sequence = 0
        self.boot = wire.boot_id()
        self.dropped = 0
        self.away = True
        self.sent_at = 0.0
        """When the last message left (time.monotonic())."""
        self._came_back = self._connected = False
        self._tried_at = 0.0
        self._waiting = Kept()
        self._last: Dict[int, Reading] = {}
        """Of events that wait: what the domain had counted that ended, by the event's number."""
        self._socket: Any = None
        self._monitor: Any = None
        self.connect(config)

    def __len__(self) -> int:
        return len(self._waiting)

    def connect(self, config: NodeConfig) -> None:
        """Speak as this configuration says from now on; what waits goes the new way.

        Raises zmq.ZMQError for an address or a key that ZeroMQ cannot use, BadConfig for a key where it has no CURVE.
        """
        if config.server_key and not zmq.has("curve"):
            raise BadConfig("“server_key” is there, but this ZeroMQ has no CURVE")
        self.close()
        self._config = config
        self._socket = zmq.Context.instance().socket(zmq.PUSH)
        if config.server_key:
            # The messages prove themselves; these keys only hide them on the way, and are made anew each time.
            public, secret = zmq.curve_keypair()
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, config.server_key.encode())
        self._socket.setsockopt(zmq.SNDHWM, HANDED_TO_ZEROMQ)
        # Nothing is given to a connection that is not there: what waits, waits here, where it is bounded.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # A master that vanished without a word (a cut network) is noticed, and connected to anew.
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        # A master that is gone and back between two looks at it would not be noticed otherwise.
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._socket.connect(config.connect)
        self.away = True
        self._connected, self._tried_at = False, time.monotonic()

    def close(self) -> None:
        """Give what was handed over a moment to leave, and stop."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(LINGER_MS)
            self._socket = None

    def put_event(self, domain: wire.DomainState, at: Optional[float] = None, last: Optional[Reading] = None) -> int:
        """Have an event sent that happened at this time.monotonic(), or just now; answers its number.

        At once if the master is there. `last` is what a domain that ended had counted.
        """
        if len(self) >= WAITING:
            self._last.pop(self._waiting[0].sequence, None)
            self._waiting.drop_first()
            self.dropped += 1
        self.sequence += 1
        if last is not None:
            self._last[self.sequence] = last
        self._waiting.append(Event(self.epoch, self.sequence, time.monotonic() if at is None else at, 0.0, domain))
        self.flush()
        return self.sequence

    def put(
        self,
        kind: str,
        domains: Optional[List[wire.DomainState]] = None,
        recent: Optional[List[wire.PastEvent]] = None,
        statistics: Optional[List[wire.DomainStatistics]] = None,
        looked_at: Optional[float] = None,
        links: Optional[List[wire.LinkState]] = None,
    ) -> bool:
        """Say something that is true now, or was at this time.monotonic(); False when the master is away."""
        self.flush()
        if self.away or len(self):
            return False
        self.sequence += 1
        message = self._message(kind, self.sequence, domains or [])
        age = max(0.0, message.clock - looked_at) if looked_at is not None else 0.0
        return self._send(
            replace(message, recent=recent or [], statistics=statistics or [], links=links or [], age=age)
        )

    def flush(self) -> None:
        """Send what waits, never blocking, and look whether the master is there."""
        self._hear_of_connection()
        if not self._connected and time.monotonic() - self._tried_at >= ANEW_SECONDS:
            # After a master that spoke otherwise (plain, or encrypted) ZeroMQ would never try again by itself.
            self.connect(self._config)
        there = bool(self._socket.poll(0, zmq.POLLOUT))
        while there and len(self):
            there = self._send_event(self._waiting[0])
            if there:
                self._last.pop(self._waiting[0].sequence, None)
                self._waiting.drop_first()
        self.away = not there

    def came_back(self) -> bool:
        """Whether the master came or came back since this was asked last: what was on its way may be lost."""
        if self.away or not self._came_back:
            return False
        self._came_back = False
        return True

    def _hear_of_connection(self) -> None:
        """Take in what ZeroMQ tells of the connection; zmq_socket_monitor(3) has the form of its frames."""
        while self._monitor.poll(0):
            event, _value = struct.unpack("=HI", self._monitor.recv_multipart()[0])
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._came_back |= self._connected
            self._tried_at = time.monotonic()

    def _send_event(self, waiting: Event) -> bool:
        message = self._message(wire.EVENT, waiting.sequence, [])
        age = max(0.0, message.clock - waiting.at)
        message = replace(message, domains=[replace(waiting.domain, age=age)])
        if (last := self._last.get(waiting.sequence)) is not None:
            since = max(0.0, message.clock - last.at)
            message = replace(message, statistics=[last.counted], age=since, final=last.still)
        return self._send(message)

    def _message(self, kind: str, sequence: int, domains: List[wire.DomainState]) -> wire.Message:
        """A message that leaves now."""
        now, clock = time.time(), time.monotonic()
        return wire.Message(self._config.node_id, self.epoch, sequence, now, kind, domains, clock=clock, boot=self.boot)

    def _send(self, message: wire.Message) -> bool:
        try:
            self._socket.send_multipart(wire.encode(message, self._config.secret), zmq.DONTWAIT)
        except zmq.Again:
            return False
        self.sent_at = time.monotonic()
        return True
