"""Hours from ten minutes, days from hours, and the end of what is too old. Short transactions, each repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from panel.monitoring.models import RolledUp, Step, VmCounters, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.monitoring.statistics.intake import slot
from panel.vms.models import Vm

FINER = {Step.HOUR: Step.TEN_MINUTES, Step.DAY: Step.HOUR}
VMS_A_QUERY = 500
MOST_SLOTS = 24 * 14
"""How far one call goes; after a long rest the next call goes on."""


def roll_up(now: datetime | None = None) -> None:
    """Make the rows of all hours and days that are over and not made yet; made again they are the same."""
    for step, finer in FINER.items():
        over = slot(now or timezone.now(), step)
        start = _start(step, finer)
        for _ in range(MOST_SLOTS):
            if start is None or start >= over:
                break
            _roll(step, finer, start)
            start += timedelta(seconds=step)
            # Only forwards from where it was: what came late meanwhile has set it back.
            made = RolledUp.objects.filter(step=step, until=start - timedelta(seconds=step)).update(until=start)
            if not made and RolledUp.objects.filter(step=step).exists():
                break


def purge() -> None:
    """Delete rows that are older than their step is kept, and those of VMs that are no more."""
    now = timezone.now()
    kept = {
        Step.TEN_MINUTES: settings.CONFIG.statistics_days,
        Step.HOUR: settings.CONFIG.statistics_hour_days,
        Step.DAY: settings.CONFIG.statistics_day_days,
    }
    for pks in _vms():
        for step, days in kept.items():
            VmUsage.objects.filter(vm_id__in=pks, step=step, at__lt=now - timedelta(days=days)).delete()
    gone = VmCounters.objects.exclude(vm_id__in=Vm.objects.values("pk")).values_list("vm_id", flat=True)
    for pk in list(gone[:VMS_A_QUERY]):
        VmUsage.objects.filter(vm_id=pk).delete()
        # Traffic stays: it may not have been billed yet.
        VmCounters.objects.filter(vm_id=pk).delete()


def _start(step: int, finer: int) -> datetime | None:
    row = RolledUp.objects.filter(step=step).first()
    if row is not None:
        return row.until
    first = VmUsage.objects.filter(step=finer).aggregate(first=Min("at"))["first"]
    if first is None:
        return None
    return RolledUp.objects.get_or_create(step=step, defaults={"until": slot(first, step)})[0].until


def _vms() -> Iterator[list[int]]:
    """The ids of all VMs that have statistics, in parts."""
    pks = list(VmCounters.objects.order_by("vm_id").values_list("vm_id", flat=True))
    for start in range(0, len(pks), VMS_A_QUERY):
        yield pks[start : start + VMS_A_QUERY]


def _roll(step: int, finer: int, start: datetime) -> None:
    table = connection.ops.quote_name(VmUsage._meta.db_table)
    sums = ", ".join(f"SUM({name})" for name in COUNTERS)
    columns = ", ".join(COUNTERS)
    sets = ", ".join(f"{name} = VALUES({name})" for name in ("seconds", "memory_kib", "rss_kib", *COUNTERS))
    mean = "COALESCE(SUM({0} * seconds) DIV NULLIF(SUM(seconds), 0), MAX({0}))"
    for pks in _vms():
        marks = ", ".join(["%s"] * len(pks))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (vm_id, step, at, seconds, memory_kib, rss_kib, {columns}) "
                f"SELECT vm_id, %s, %s, SUM(seconds), {mean.format('memory_kib')}, {mean.format('rss_kib')}, {sums} "
                f"FROM {table} WHERE vm_id IN ({marks}) AND step = %s AND at >= %s AND at < %s GROUP BY vm_id "
                f"ON DUPLICATE KEY UPDATE {sets}",
                [step, start, *pks, finer, start, start + timedelta(seconds=step)],
            )
