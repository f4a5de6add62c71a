"""A period's traffic is read from the coarsest rows there are, each moment from one of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from panel.monitoring.models.statistics import Step, slot
from panel.monitoring.statistics.periods import divide, next_month

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = 120 * Step.DAY
moments = st.integers(0, SECONDS).map(lambda seconds: BEGIN + timedelta(seconds=seconds))


@given(moments, moments, moments, moments)
def test_the_rows_follow_each_other_from_the_periods_begin_to_its_end(
    one: datetime, other: datetime, hours: datetime, days: datetime
) -> None:
    begin, end = min(one, other), max(one, other)
    rolled = {Step.HOUR: slot(hours, Step.HOUR), Step.DAY: slot(min(hours, days), Step.DAY)}
    parts = divide(begin, end, rolled)
    spans = [(step, since, until) for step, since, until in parts.rows]
    for month in parts.months:
        first = datetime(month.year, month.month, month.day, tzinfo=UTC)
        spans.append((Step.TEN_MINUTES, first, next_month(first)))
    spans.sort(key=lambda span: span[1])
    wanted = begin if slot(begin) == begin else slot(begin) + timedelta(seconds=Step.TEN_MINUTES)
    if wanted >= end:
        assert not spans
    else:
        assert [since for _, since, _ in spans] == [wanted, *(until for _, _, until in spans[:-1])]
        assert spans[-1][2] == end
    for step, since, until in parts.rows:
        if step != Step.TEN_MINUTES:
            assert (slot(since, step), slot(until, step)) == (since, until) and until <= rolled[step]


def test_whole_months_are_read_from_their_counts() -> None:
    parts = divide(datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), {})
    assert [month.isoformat() for month in parts.months] == ["2026-02-01", "2026-03-01"]
    assert parts.rows == ((Step.TEN_MINUTES, datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),)
