"""The events of the last minutes, so that each picture can tell them again to whoever missed them.

They are also in a file in memory (/run), where the next run of a daemon that was killed finds those that
it may not have sent.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Deque, Dict, List, NamedTuple

from vmwatch import wire

KEPT = 10_000
TOLD_AGAIN = 5_000
"""Events that one picture tells again at most; where there are more, one picture after the other goes on."""
TOLD_SECONDS = 60.0
"""So long each event is told again, by the time for which the master was there."""
FILE_LINES = 2 * KEPT
SPARE_LINES = 100
log = logging.getLogger("vmwatch-node")


class _Entry(NamedTuple):
    """`at` is by time.monotonic(), whose zero is the host's start: the next run of the daemon can use it too.

    `heard` are the seconds for which the master had been there in this run until then. Thousands of these are kept.
    """

    heard: float
    epoch: int
    sequence: int
    at: float
    domain: wire.DomainState


class Journal:
    """Remembers events, and tells each again until the master was there for a minute since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told_seconds = TOLD_SECONDS
        self._heard = 0.0
        self._looked_at = time.monotonic()
        # Nobody knows what the last run of the daemon could still send.
        self._entries: Deque[_Entry] = collections.deque(_read(path), KEPT)
        self._file: Any = None
        self._lines = 0
        self._page = -1
        self._rewrite()

    def remember(self, epoch: int, sequence: int, domain: wire.DomainState) -> None:
        """Keep an event that happened just now."""
        entry = _Entry(self._heard, epoch, sequence, time.monotonic(), domain)
        self._entries.append(entry)
        if self._lines >= FILE_LINES:
            self._rewrite()
        else:
            self._write(entry)

    def look(self, there: bool) -> None:
        """Take the time for which the master was there; what was told again for long enough is forgotten.

        While it is away no time passes here, so that nothing is forgotten that it may have missed.
        """
        now = time.monotonic()
        if there:
            self._heard += now - self._looked_at
        self._looked_at = now
        while self._entries and self._entries[0].heard < self._heard - self.told_seconds:
            self._entries.popleft()
        if self._lines > 2 * len(self._entries) + SPARE_LINES:
            self._rewrite()

    def recent(self) -> List[wire.PastEvent]:
        """The events to tell again, oldest first."""
        now = time.monotonic()
        found = list(self._entries)
        if len(found) > TOLD_AGAIN:
            pages = -(-len(found) // TOLD_AGAIN)
            self._page = (self._page + 1) % pages
            found = found[self._page * TOLD_AGAIN : (self._page + 1) * TOLD_AGAIN]
        return [
            wire.PastEvent(each.epoch, each.sequence, replace(each.domain, age=max(0.0, now - each.at)))
            for each in found
        ]

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, entry: _Entry) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(_plain(entry), separators=(",", ":")).encode() + b"\n")
            self._lines += 1
        except OSError as error:
            log.warning("%s cannot be written: %s", self.path, error)
            self.close()

    def _rewrite(self) -> None:
        """Have a file with just the entries that are kept."""
        self.close()
        partial = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what was written is there when the process is killed at the next moment.
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
            self._lines = 0
            for entry in self._entries:
                self._write(entry)
            partial.rename(self.path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self.path, error)
            self.close()


def _plain(entry: _Entry) -> Dict[str, Any]:
    return {"epoch": entry.epoch, "sequence": entry.sequence, "at": entry.at, "domain": asdict(entry.domain)}


def _read(path: Path) -> List[_Entry]:
    """What an earlier run left; a line that it could not end is passed over, and so is a file of another host start."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines[-KEPT:]:
        try:
            raw = json.loads(line)
            entry = _Entry(0.0, raw["epoch"], raw["sequence"], raw["at"], wire.DomainState(**raw["domain"]))
        except (ValueError, KeyError, TypeError):
            continue
        if entry.at <= time.monotonic():
            found.append(entry)
    return found
