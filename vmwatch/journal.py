"""The events of the last minutes, so that each full report can tell them again to whoever missed them.

They are also in a file in memory (/run), where the next run of a daemon that was killed finds those that
it may not have sent.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from vmwatch import wire
from vmwatch.kept import Event, Kept

KEPT = 10_000
TOLD_AGAIN = 1_000
"""Events that one full report tells again at most; where there are more, the next one goes on, and comes sooner."""
TOLD_SECONDS = 60.0
"""So long each event is told again, by the time for which the master was there."""
FILE_LINES = 2 * KEPT
SPARE_LINES = 100
log = logging.getLogger("vmwatch-node")


class Journal:
    """Remembers events, and tells each again until the master was there for a minute since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told_seconds = TOLD_SECONDS
        self._heard = 0.0
        self._looked_at = time.monotonic()
        # Nobody knows what the last run of the daemon could still send.
        self._entries = Kept()
        self._gone = self._told = 0
        for entry in _read(path):
            self._keep(entry)
        self._file: Any = None
        self._lines = 0
        self._rewrite()

    def remember(self, epoch: int, sequence: int, domain: wire.DomainState, at: Optional[float] = None) -> None:
        """Keep an event that happened at this time.monotonic(), or just now."""
        entry = Event(epoch, sequence, time.monotonic() if at is None else at, self._heard, domain)
        self._keep(entry)
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
        while len(self._entries) and self._entries[0].heard < self._heard - self.told_seconds:
            self._forget_first()
        if self._lines > 2 * len(self._entries) + SPARE_LINES:
            self._rewrite()

    @property
    def full_reports(self) -> int:
        """How many full reports it takes to tell all of it."""
        return max(1, -(-len(self._entries) // TOLD_AGAIN))

    def recent(self) -> List[wire.PastEvent]:
        """The events that the next full report tells again, oldest first: all, or what fits, after the last one's."""
        now, count = time.monotonic(), len(self._entries)
        first = max(0, self._told - self._gone)
        if count <= TOLD_AGAIN or first >= count:
            first = 0
        # Those after the last one, and from the oldest on where these are too few.
        places = sorted((first + number) % count for number in range(min(count, TOLD_AGAIN)))
        self._told = self._gone + (first + TOLD_AGAIN) % max(count, 1)
        found = (self._entries[place] for place in places)
        return [
            wire.PastEvent(each.epoch, each.sequence, replace(each.domain, age=max(0.0, now - each.at)))
            for each in found
        ]

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, entry: Event) -> None:
        if len(self._entries) >= KEPT:
            self._forget_first()
        self._entries.append(entry)

    def _forget_first(self) -> None:
        self._entries.drop_first()
        self._gone += 1

    def _write(self, entry: Event) -> None:
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


def _plain(entry: Event) -> Dict[str, Any]:
    return {"epoch": entry.epoch, "sequence": entry.sequence, "at": entry.at, "domain": asdict(entry.domain)}


def _read(path: Path) -> Iterator[Event]:
    """What an earlier run left; a line that it could not end is passed over, and so is a file of another host start."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    entry = _entry(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue
                if entry.at <= time.monotonic() and wire.begun(entry.epoch):
                    yield entry
    except OSError:
        return


def _entry(raw: Any) -> Event:
    # As a message is read: what does not fit the form is no event.
    past = wire.past_from_raw(raw)
    return Event(past.epoch, past.sequence, float(raw["at"]), 0.0, past.domain)
