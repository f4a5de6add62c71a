"""A VM's history as a line of segments."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from panel.vms.models import StatusChange
from panel.vms.timeline import WIDTH, Segment, line

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=10)


def change(hours: float, status: str) -> StatusChange:
    """A change so many hours after the start."""
    return StatusChange(status=status, at=START + timedelta(hours=hours))


def shape(segments: list[Segment]) -> list[tuple[str, float, float]]:
    """What is drawn."""
    return [(each.status, each.x, each.width) for each in segments]


def test_each_status_is_as_wide_as_it_lasted() -> None:
    changes = [change(9, "running"), change(4, "shut off"), change(-5, "running")]
    assert shape(line(changes, START, END)) == [("running", 0, 400), ("shut off", 400, 500), ("running", 900, 100)]


def test_what_was_before_the_first_change_is_left_out() -> None:
    assert shape(line([change(5, "running")], START, END)) == [("running", 500, 500)]
    assert line([], START, END) == []


def test_the_line_is_as_wide_as_the_time_and_has_no_gap() -> None:
    changes = [change(hour / 7, "running" if hour % 2 else "paused") for hour in range(60, -3, -1)]
    segments = line(changes, START, END)
    assert abs(sum(each.width for each in segments) - WIDTH) < 1
    assert all(before.until == after.since for before, after in itertools.pairwise(segments))


def test_two_changes_at_one_time_show_the_newer_one() -> None:
    assert shape(line([change(5, "running"), change(5, "paused"), change(0, "shut off")], START, END)) == [
        ("shut off", 0, 500),
        ("running", 500, 500),
    ]
