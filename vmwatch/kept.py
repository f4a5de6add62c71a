"""Events in memory: vmwatch-node keeps thousands of them for minutes, so each takes as little as can be."""

from __future__ import annotations

from array import array
from typing import Dict, Iterator, List, NamedTuple

from vmwatch import wire

SHARED = 4096
"""Events without their time, of which one copy is kept: a domain's life is the same few again and again."""
SPARE = 1000
_shared: Dict[wire.DomainState, wire.DomainState] = {}


class Event(NamedTuple):
    """`at` is when it happened, by time.monotonic(); `heard` for how long the master had been there until then."""

    epoch: int
    sequence: int
    at: float
    heard: float
    domain: wire.DomainState


class Kept:
    """Events in their order, some forty bytes each; of those that say the same one copy is kept."""

    def __init__(self) -> None:
        self._whole = array("Q")
        """Of each event its epoch and its number."""
        self._seconds = array("d")
        """Of each event `at` and `heard`."""
        self._domains: List[wire.DomainState] = []
        self._gone = 0

    def __len__(self) -> int:
        return len(self._domains) - self._gone

    def __iter__(self) -> Iterator[Event]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Event:
        """The event at this place, 0 is the oldest."""
        row = self._gone + place
        epoch, sequence = self._whole[2 * row : 2 * row + 2]
        at, heard = self._seconds[2 * row : 2 * row + 2]
        return Event(epoch, sequence, at, heard, self._domains[row])

    def append(self, event: Event) -> None:
        """Keep one more."""
        self._whole.extend((event.epoch, event.sequence))
        self._seconds.extend((event.at, event.heard))
        self._domains.append(one_copy(event.domain))

    def drop_first(self) -> None:
        """Keep the oldest no longer."""
        self._gone += 1
        # Not each time: what follows has to move up.
        if self._gone >= SPARE or self._gone == len(self._domains):
            del self._whole[: 2 * self._gone]
            del self._seconds[: 2 * self._gone]
            del self._domains[: self._gone]
            self._gone = 0


def one_copy(domain: wire.DomainState) -> wire.DomainState:
    """The very object that was given here before for an equal one."""
    if len(_shared) >= SHARED:
        _shared.clear()
    return _shared.setdefault(domain, domain)
