"""A VM's status over a stretch of time, as a line of segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from panel.vms.models import StatusChange, Vm

WIDTH = 1000


@dataclass(frozen=True)
class Segment:
    """A time in which the status was the same. `x` and `width` are thousandths of the whole line."""

    status: str
    since: datetime
    until: datetime
    x: float
    width: float


def line(changes: Sequence[StatusChange], start: datetime, end: datetime) -> list[Segment]:
    """The segments from `start` to `end`; `changes` are the newest first, and the last one may lie before `start`.

    What was before the first change is not known, and is left out.
    """
    whole = (end - start).total_seconds()
    segments: list[Segment] = []
    until = end
    for change in changes:
        if until <= start:
            break
        since = max(change.at, start)
        if since < until:
            x = (since - start).total_seconds() / whole * WIDTH
            width = (until - since).total_seconds() / whole * WIDTH
            segments.append(Segment(change.status, since, until, round(x, 2), round(width, 2)))
            until = since
    return segments[::-1]


def of(vm: Vm, start: datetime, end: datetime, most: int = 500) -> list[Segment]:
    """The VM's line, from at most so many of its newest changes."""
    rows = vm.status_changes.filter(repeated=False, at__lte=end)
    before = rows.filter(at__lte=start).values_list("at", flat=True).first()
    changes = rows.filter(at__gte=before) if before is not None else rows
    return line(list(changes[:most]), start, end)
