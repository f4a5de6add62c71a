"""Which messages of each node vmwatch-master has seen: lets each through once, in whatever order they come."""

from __future__ import annotations

from typing import Dict

from vmwatch.wire import Message, Refused


class Order:
    """Which messages of each node have been seen: lets each through once, in whatever order they come.

    Remembers the last WINDOW numbers of a node's last two epochs. What is older than that cannot be
    told from a repeat, and is refused as one.
    """

    WINDOW = 4096
    NODES = 10_000
    """Nodes that are remembered: whoever knows the secret must not fill the memory."""

    def __init__(self) -> None:
        self._nodes: Dict[int, Dict[int, _Seen]] = {}

    def accept(self, message: Message) -> None:
        """Remember the message as seen; raises Refused as replayed when it was, or may have been, seen before."""
        epochs = self._nodes.get(message.node_id)
        if epochs is None:
            if len(self._nodes) >= self.NODES:
                del self._nodes[next(iter(self._nodes))]
            epochs = self._nodes[message.node_id] = {}
        seen = epochs.get(message.epoch)
        if seen is None:
            if epochs and message.epoch < max(epochs):
                raise Refused("replayed", f"epoch {message.epoch} of node {message.node_id} is over")
            seen = epochs[message.epoch] = _Seen()
            if len(epochs) > 2:
                del epochs[min(epochs)]
        if not seen.add(message.sequence, self.WINDOW):
            raise Refused("replayed", f"number {message.sequence} of node {message.node_id} was there before")

    def has_seen(self, node_id: int, epoch: int, sequence: int) -> bool:
        """Whether this very message is remembered."""
        seen = self._nodes.get(node_id, {}).get(epoch)
        return seen is not None and seen.has(sequence)


class _Seen:
    """The numbers seen of one epoch: the highest, and a bit for each of those below it."""

    __slots__ = ("_bits", "_highest")

    def __init__(self) -> None:
        self._highest = -1
        self._bits = 0

    def add(self, number: int, window: int) -> bool:
        """Remember the number; False when it was there, or is too far below the highest to know."""
        ahead = number - self._highest
        if ahead > 0:
            self._bits = ((self._bits << min(ahead, window)) | 1) & ((1 << window) - 1)
            self._highest = number
            return True
        if -ahead >= window or self.has(number):
            return False
        self._bits |= 1 << -ahead
        return True

    def has(self, number: int) -> bool:
        """Whether the number is remembered."""
        behind = self._highest - number
        return behind >= 0 and bool(self._bits >> behind & 1)
