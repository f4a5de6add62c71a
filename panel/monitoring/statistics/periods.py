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
    """Bytes; `complete` when they are all that there was. None: some may still be added, so it is not known yet.

    They are not all, for ever, where rows of a part are not kept any more, as of deleted VMs, and where the VM ran and
    was not read (`unread`). Some may be added until the row that the period ends in is over, and while what is unread
    ends with the period, since the next reading makes it known.
    """

    rx_bytes: int = 0
    tx_bytes: int = 0
    complete: bool | None = True
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
    """What each VM received and sent in its periods, by its id; five queries, however many VMs.

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
    for vm_id, rx, tx in _sums(of_months, of_rows):
        found[vm_id][0] += rx
        found[vm_id][1] += tx
    lost = {
        vm_id
        for (_, rows), ids in same.items()
        for vm_id in ids
        if any(vm_id in gone or begin < _kept_since(step, rolled, now) for step, begin, _ in rows)
    }
    gaps, pending = _gaps(periods, now)
    if _up(until, Step.TEN_MINUTES) + SETTLES > now:
        pending |= set(periods) - set(gone)
    return {
        vm_id: Traffic(
            rx,
            tx,
            None if vm_id in pending else vm_id not in lost and not gaps[vm_id],
            _within(gaps[vm_id], periods[vm_id]),
        )
        for vm_id, (rx, tx) in found.items()
    }


def _sums(of_months: list[Q], of_rows: list[Q]) -> Iterable[tuple[int, int, int]]:
    """What VMs received and sent, some in two parts; one query."""
    parts = [
        model.objects.filter(_either(wanted)).order_by().values_list("vm_id").annotate(Sum("rx_bytes"), Sum("tx_bytes"))
        for model, wanted in ((VmTraffic, of_months), (VmUsage, of_rows))
        if wanted
    ]
    return parts[0].union(*parts[1:], all=True) if parts else ()


def _kept_since(step: int, rolled: Mapping[int, datetime], now: datetime) -> datetime:
    """From when on rows of a step are there: those that no coarser ones were made of yet wait for that."""
    coarser = {Step.TEN_MINUTES: Step.HOUR, Step.HOUR: Step.DAY}.get(Step(step))
    kept = kept_since(step, now)
    return kept if coarser is None or coarser not in rolled else min(kept, rolled[coarser])


def _gaps(periods: Mapping[int, Sequence[Period]], now: datetime) -> tuple[dict[int, list[Period]], set[int]]:
    """When each VM ran and was not read in its periods, and in the rest of the rows that these end in.

    And the VMs of which such a stretch lasts until now: it may still be read.
    """
    whole = {vm_id: [(begin, _up(end, Step.TEN_MINUTES)) for begin, end in each] for vm_id, each in periods.items()}
    spans = [span for each in whole.values() for span in each]
    if not spans:
        return {vm_id: [] for vm_id in periods}, set()
    asked = {vm_id: each for vm_id, each in whole.items() if each}
    known = unread(list(asked), min(begin for begin, _ in spans), max(end for _, end in spans), now)
    open_ones = {vm_id: [each for each in stretches if each[1] == now] for vm_id, stretches in known.items()}
    pending = {vm_id for vm_id, each in whole.items() if _within(open_ones.get(vm_id, ()), each)}
    return {vm_id: list(_within(known.get(vm_id, ()), each)) for vm_id, each in whole.items()}, pending


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
