"""The traffic of VMs in any period: whole months from their counts, the rest from the rows of statistics.

A row counts where it begins, so a period's ends are as exact as the finest rows that are still kept of
them: ten minutes at first, then hours, then days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import Q, Sum
from django.utils import timezone

from panel.monitoring.models import RolledUp, Step, VmTraffic, VmUsage
from panel.monitoring.models.statistics import kept_since, slot
from panel.monitoring.statistics.unread import SETTLES, Period, unread


@dataclass(frozen=True)
class Traffic:
    """Bytes; `complete` when they are all that there was and will be told for ever.

    They are not where rows of a part are not kept any more, as of deleted VMs, nor where the VM ran and was not read:
    `unread`, which ends with the period where it will be. Nor before the row that the period ends in is over.
    """

    rx_bytes: int = 0
    tx_bytes: int = 0
    complete: bool = True
    unread: tuple[Period, ...] = ()

    @property
    def not_known(self) -> list[dict[str, datetime]]:
        """The unread stretches by the names of their ends."""
        return [{"begin": begin, "end": end} for begin, end in self.unread]


@dataclass(frozen=True)
class Parts:
    """What a period is read from: the first days of months, and stretches of the rows of each step."""

    months: tuple[date, ...]
    rows: tuple[tuple[int, datetime, datetime], ...]


def traffic_of(
    periods: Mapping[int, Sequence[Period]], gone: Collection[int], until: datetime, now: datetime | None = None
) -> dict[int, Traffic]:
    """What each VM received and sent in its periods, by its id; at most eight queries, however many VMs.

    Those that are `gone` have no rows any more, just months. Nobody is asked of what was after `until`, though whole
    months are counted of VMs that were not there.
    """
    now = now or timezone.now()
    rolled = dict(RolledUp.objects.values_list("step", "until"))
    same: dict[tuple[tuple[date, ...], tuple[tuple[int, datetime, datetime], ...]], list[int]] = {}
    for vm_id, spans in periods.items():
        parts = [divide(begin, end, rolled) for begin, end in spans if begin < end]
        key = tuple(each for part in parts for each in part.months), tuple(each for part in parts for each in part.rows)
        same.setdefault(key, []).append(vm_id)
    of_months = [Q(vm_id__in=ids, month__in=months) for (months, _), ids in same.items() if months]
    of_rows = [
        Q(vm_id__in=ids) & _either(Q(step=step, at__gte=begin, at__lt=end) for step, begin, end in rows)
        for (_, rows), ids in same.items()
        if rows
    ]
    found = {vm_id: [0, 0] for vm_id in periods}
    for model, wanted in ((VmTraffic, of_months), (VmUsage, of_rows)):
        if wanted:
            added = model.objects.filter(_either(wanted)).order_by().values("vm_id")
            for row in added.annotate(rx=Sum("rx_bytes"), tx=Sum("tx_bytes")):
                found[row["vm_id"]][0] += row["rx"]
                found[row["vm_id"]][1] += row["tx"]
    lost = {
        vm_id
        for (_, rows), ids in same.items()
        for vm_id in ids
        if any(vm_id in gone or begin < _kept_since(step, rolled, now) for step, begin, _ in rows)
    }
    gaps, over = _gaps(periods, now), _up(until, Step.TEN_MINUTES) + SETTLES <= now
    return {
        vm_id: Traffic(
            rx,
            tx,
            vm_id not in lost and not gaps[vm_id] and (over or vm_id in gone),
            _within(gaps[vm_id], periods[vm_id]),
        )
        for vm_id, (rx, tx) in found.items()
    }


def _kept_since(step: int, rolled: Mapping[int, datetime], now: datetime) -> datetime:
    """From when on rows of a step are there: those that no coarser ones were made of yet wait for that."""
    coarser = {Step.TEN_MINUTES: Step.HOUR, Step.HOUR: Step.DAY}.get(Step(step))
    kept = kept_since(step, now)
    return kept if coarser is None or coarser not in rolled else min(kept, rolled[coarser])


def _gaps(periods: Mapping[int, Sequence[Period]], now: datetime) -> dict[int, list[Period]]:
    """When each VM ran and was not read in its periods, and in the rest of the rows that these end in."""
    whole = {vm_id: [(begin, _up(end, Step.TEN_MINUTES)) for begin, end in each] for vm_id, each in periods.items()}
    spans = [span for each in whole.values() for span in each]
    if not spans:
        return {vm_id: [] for vm_id in periods}
    asked = {vm_id: each for vm_id, each in whole.items() if each}
    known = unread(list(asked), min(begin for begin, _ in spans), max(end for _, end in spans), now)
    return {vm_id: list(_within(known.get(vm_id, ()), each)) for vm_id, each in whole.items()}


def _within(stretches: Iterable[Period], periods: Iterable[Period]) -> tuple[Period, ...]:
    """The parts of the stretches that lie in the periods."""
    periods = list(periods)
    return tuple(
        (max(begin, first), min(end, last))
        for first, last in stretches
        for begin, end in periods
        if max(begin, first) < min(end, last)
    )


def divide(begin: datetime, end: datetime, rolled: Mapping[int, datetime]) -> Parts:
    """What the period is read from: the coarsest there is, without a gap or an overlap."""
    first, last = month_of(begin), month_of(end)
    if first < begin:
        first = next_month(first)
    if first >= last:
        return Parts((), tuple(_rows(begin, end, rolled)))
    months = []
    month = first
    while month < last:
        months.append(month.date())
        month = next_month(month)
    return Parts(tuple(months), (*_rows(begin, first, rolled), *_rows(last, end, rolled)))


def _rows(begin: datetime, end: datetime, rolled: Mapping[int, datetime]) -> Iterator[tuple[int, datetime, datetime]]:
    """Days in the middle, hours around them, ten minutes at the ends; coarser ones as far as they are made."""
    yield from _coarser([Step.DAY, Step.HOUR, Step.TEN_MINUTES], _up(begin, Step.TEN_MINUTES), end, rolled)


def _coarser(
    steps: Sequence[int], begin: datetime, end: datetime, rolled: Mapping[int, datetime]
) -> Iterator[tuple[int, datetime, datetime]]:
    if begin >= end:
        return
    step, *finer = steps
    if not finer:
        yield step, begin, end
        return
    made = rolled.get(step)
    first, last = _up(begin, step), slot(min(end, made), step) if made is not None else begin
    if first >= last:
        yield from _coarser(finer, begin, end, rolled)
        return
    yield from _coarser(finer, begin, first, rolled)
    yield step, first, last
    yield from _coarser(finer, last, end, rolled)


def _up(at: datetime, step: int) -> datetime:
    """The first begin of a stretch that is not before `at`."""
    begin = slot(at, step)
    return begin if begin == at else begin + timedelta(seconds=step)


def month_of(at: datetime) -> datetime:
    """The begin of the month that `at` lies in (UTC)."""
    at = at.astimezone(UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def next_month(first: datetime) -> datetime:
    """The begin of the month after it (UTC)."""
    return month_of(first + timedelta(days=32))


def _either(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions)
