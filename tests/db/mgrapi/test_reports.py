"""`reportvm`: what a billing module adds up is what was counted, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from panel.mgrapi.functions.reports import period_of
from panel.monitoring.models import RolledUp, Step, VmCounters, VmUsage
from panel.monitoring.statistics.rollup import roll_up
from tests.db.mgrapi.classic import World, error_of, rows_of

GIB = 2**30


def midnight(days_ago: int) -> datetime:
    """The begin of a day (UTC)."""
    now = timezone.now()
    return datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=days_ago)


def report(world: World, period: str) -> list[tuple[str, float, float]]:
    """Day, sent and received GiB."""
    rows = rows_of(world.call("anna", "reportvm", type="day", period=period, server="shop"))
    return [(row["day"], float(row["tx"]), float(row["rx"])) for row in rows]


@pytest.mark.parametrize("rolled_up", [False, True])
def test_each_day_is_told_once_added_up_or_not(world: World, rolled_up: bool) -> None:
    VmUsage.objects.all().delete()
    for hours in (1, 2, 23):
        at = midnight(1) + timedelta(hours=hours)
        VmUsage.objects.create(vm=world.vm, step=Step.TEN_MINUTES, at=at, rx_bytes=GIB, tx_bytes=2 * GIB)
    VmUsage.objects.create(vm=world.vm, step=Step.TEN_MINUTES, at=midnight(0), rx_bytes=GIB // 2, tx_bytes=0)
    if rolled_up:
        VmCounters.objects.create(vm=world.vm, node_id=world.node.pk, run=1, at=timezone.now())
        roll_up(midnight(0) + timedelta(minutes=10))
        assert RolledUp.objects.get(step=Step.DAY).until == midnight(0)
    assert report(world, "yesterday") == [(f"{midnight(1):%Y-%m-%d}", 6.0, 3.0)]
    assert report(world, "today") == [(f"{midnight(0):%Y-%m-%d}", 0.0, 0.5)]


def test_periods_are_whole_days() -> None:
    today = datetime(2026, 3, 1, tzinfo=UTC).date()
    told = {
        name: [f"{each:%m-%d}" for each in period_of(name, today)] for name in ("today", "currentmonth", "lastmonth")
    }
    assert told == {"today": ["03-01", "03-02"], "currentmonth": ["03-01", "03-02"], "lastmonth": ["02-01", "03-01"]}


def test_what_cannot_be_told_is_said(world: World) -> None:
    assert error_of(world.call("anna", "reportvm")) == ("missed", "server")
    assert error_of(world.call("anna", "reportvm", server="237", period="ever")) == ("value", "period")
    assert error_of(world.call("anna", "reportvm", server="237", type="hour")) == ("value", "type")
    assert error_of(world.call("anna", "reportvm", server="no such")) == ("missed", "vm")
