"""What vmwatch-master holds while the panel is away: in memory, and on disk in case it ends meanwhile."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Counter, Iterator, List, Optional, OrderedDict, Tuple

from vmwatch import wire

WAITING = 20_000
LARGEST_BYTES = 64 * 1024 * 1024
"""Of what waits; the file may hold as much again that was delivered or dropped since."""
MOST_RECENT = 10_000
"""Events that one full report tells again at most."""
log = logging.getLogger("vmwatch-master")


@dataclass(frozen=True)
class Held:
    """One message whose proof was checked. `since` is when it came, by time.monotonic()."""

    node_id: int
    kind: str
    body: bytes
    since: float

    @property
    def waited(self) -> float:
        """Seconds that it has been held."""
        return max(0.0, time.monotonic() - self.since)


class Spool:
    """Messages in the order of their arrival. From panel_away() until none is held they are also in a file."""

    def __init__(self, path: Path, seen: Callable[[int, int, int], bool] = lambda *_: False) -> None:
        """`seen` answers whether an event (node, epoch, sequence) has come as a message of its own."""
        self.path = path
        self.away = False
        self.dropped = 0
        self._seen = seen
        # Linked, so that the first one and one in the middle are found and removed in no time.
        self._held: OrderedDict[int, Held] = collections.OrderedDict()
        self._statistics: OrderedDict[int, None] = collections.OrderedDict()
        self._number = 0
        self._bytes = 0
        self._bytes_of: Counter[int] = collections.Counter()
        """By node."""
        self._file: Any = None
        self._file_bytes = 0
        self._read()

    def __len__(self) -> int:
        return len(self._held)

    def first(self, count: int, most_bytes: int) -> List[Held]:
        """The oldest messages: at most so many, and no more once they are so many bytes; they stay held."""
        found: List[Held] = []
        size = 0
        for held in self._held.values():
            if len(found) >= count or size >= most_bytes:
                break
            found.append(held)
            size += len(held.body)
        return found

    def add(self, message: wire.Message, body: bytes) -> None:
        """Hold a message that has come just now."""
        self._add(message, Held(message.node_id, message.kind, body, time.monotonic()))

    def done(self, count: int) -> None:
        """The panel has the oldest `count` messages."""
        for _ in range(count):
            self._drop(next(iter(self._held)))
        if not self._held:
            self.away = False
            self._remove_file()

    def panel_away(self) -> None:
        """From now on nothing is lost when this process ends."""
        if not self.away:
            self.away = True
            for number in [number for number, held in self._held.items() if held.kind == wire.ALIVE]:
                self._drop(number)
            self._write_all()

    def _add(self, message: wire.Message, held: Held) -> None:
        if self.away:
            if message.kind == wire.ALIVE:
                # That a node was alive then is of no use when the panel comes back.
                return
            if message.kind == wire.FULL_REPORT:
                held = self._instead_of_older(held, message)
        self._number += 1
        self._held[self._number] = held
        if message.kind == wire.STATISTICS:
            self._statistics[self._number] = None
        self._bytes += len(held.body)
        self._bytes_of[held.node_id] += len(held.body)
        if self.away:
            self._write(held)
        while len(self._held) > WAITING or self._bytes > LARGEST_BYTES:
            # Statistics can best be spared, then what is oldest of the node that takes most of the room.
            self._drop(next(iter(self._statistics), 0) or self._oldest_of_largest())
            self.dropped += 1

    def _oldest_of_largest(self) -> int:
        largest = max(self._bytes_of, key=self._bytes_of.__getitem__)
        return next(number for number, held in self._held.items() if held.node_id == largest)

    def _drop(self, number: int) -> None:
        held = self._held.pop(number)
        self._bytes -= len(held.body)
        self._bytes_of[held.node_id] -= len(held.body)
        if not self._bytes_of[held.node_id]:
            del self._bytes_of[held.node_id]
        self._statistics.pop(number, None)

    def _instead_of_older(self, held: Held, full_report: wire.Message) -> Held:
        """The newer full report, with what older ones of the node told again and nobody else did; those are dropped."""
        older = [
            number
            for number, each in self._held.items()
            if each.kind == wire.FULL_REPORT and each.node_id == held.node_id
        ]
        if not older:
            return held
        recent = {(past.epoch, past.sequence): past for past in full_report.recent}
        for number in older:
            # Times that were read from the file are rounded.
            waited = max(0.0, held.since - self._held[number].since)
            for past in wire.from_body(self._held[number].body).recent:
                if not self._seen(held.node_id, past.epoch, past.sequence):
                    earlier = replace(past.domain, age=past.domain.age + waited)
                    recent.setdefault((past.epoch, past.sequence), replace(past, domain=earlier))
            self._drop(number)
        merged = [recent[place] for place in sorted(recent)][-MOST_RECENT:]
        return replace(held, body=wire.to_body(replace(full_report, recent=merged)))

    def _write(self, held: Held) -> None:
        if self._file is None:
            return
        # A body may be laid out in lines; none of them is inside a string, where JSON allows no line's end.
        body = held.body.replace(b"\n", b" ").replace(b"\r", b" ")
        line = b'{"at":%.3f,"body":%b}\n' % (time.time() - held.waited, body)
        try:
            self._file.write(line)
            self._file_bytes += len(line)
        except OSError as error:
            log.error("%s cannot be written, what waits is in memory only: %s", self.path, error)
            self._close_file()
            return
        if self._file_bytes > 2 * LARGEST_BYTES:
            self._write_all()

    def _write_all(self) -> None:
        """Have a file with just what waits now."""
        self._close_file()
        partial = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            # Unbuffered: what was written is there when the process is killed at the next moment.
            self._file = os.fdopen(descriptor, "wb", buffering=0)
            self._file_bytes = 0
            for held in self._held.values():
                self._write(held)
            partial.rename(self.path)
        except OSError as error:
            log.error("%s cannot be written, what waits is in memory only: %s", self.path, error)
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remove_file(self) -> None:
        self._close_file()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _read(self) -> None:
        """What an earlier run could not deliver; a line that it could not end is passed over."""
        for message, held in _lines(self.path):
            self.away = True
            self._add(message, held)
        if self._held:
            log.info("%d messages of an earlier run wait for the panel", len(self._held))
            self._write_all()


def _lines(path: Path) -> Iterator[Tuple[wire.Message, Held]]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            found = _held(line)
            if found is not None:
                yield found


def _held(line: bytes) -> Optional[Tuple[wire.Message, Held]]:
    try:
        raw = json.loads(line)
        # By the wall clock: the monotonic one may have begun anew with the host.
        waited = max(0.0, time.time() - float(raw["at"]))
        message = wire.from_raw(raw["body"])
    except (ValueError, KeyError, TypeError):
        return None
    return message, Held(message.node_id, message.kind, wire.to_body(message), time.monotonic() - waited)
