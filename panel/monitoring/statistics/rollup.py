"""Hours from ten minutes, days from hours, and the end of what is too old. Short transactions, each repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Min
from django.utils import timezone

from panel.monitoring.models import RolledUp, Step, VmCounters, VmUsage
from panel.monitoring.models.statistics import COUNTERS, kept_since, slot
from panel.vms.models import Vm

FINER = {Step.HOUR: Step.TEN_MINUTES, Step.DAY: Step.HOUR}
COARSER = {finer: step for step, finer in FINER.items()}
SETTLED = timedelta(minutes=2)
"""So long after its end an hour is made: messages of it that are being taken in are in the database by then."""
VMS_A_QUERY = 500
ROWS_A_DELETE = 5000
MOST_SLOTS = 24 * 14
"""How far one call goes; after a long rest the next call goes on."""


def roll_up(now: datetime | None = None) -> None:
    """Make the rows of all hours and days that are over and not made yet; made again they are the same."""
    settled = (now or timezone.now()) - SETTLED
    for step, finer in FINER.items():
        _begin(step, finer)
        for _ in range(MOST_SLOTS):
            if not _roll_next(step, finer, settled):
                break


def purge(now: datetime | None = None) -> None:
    """Delete rows that are older than their step is kept and were added up, and those of VMs that are no more."""
    now = now or timezone.now()
    until = dict(RolledUp.objects.values_list("step", "until"))
    for step in Step:
        before = kept_since(step, now)
        if step in COARSER:
            if COARSER[step] not in until:
                continue
            before = min(before, until[COARSER[step]])
        for pks in _vms():
            _delete("step = %s AND at < %s", [step, before], pks)
    gone = VmCounters.objects.exclude(vm_id__in=Vm.objects.values("pk")).values_list("vm_id", flat=True)
    while pks := list(gone[:VMS_A_QUERY]):
        _delete("TRUE", [], pks)
        # Traffic stays: it may not have been billed yet.
        VmCounters.objects.filter(vm_id__in=pks).delete()


def _begin(step: int, finer: int) -> None:
    """There is a row that says until when the step was made, if there is anything to make."""
    if not RolledUp.objects.filter(step=step).exists():
        first = VmUsage.objects.filter(step=finer).aggregate(first=Min("at"))["first"]
        if first is not None:
            RolledUp.objects.get_or_create(step=step, defaults={"until": slot(first, step)})


def _roll_next(step: int, finer: int, settled: datetime) -> bool:
    """Make the next stretch; False when it is not over, or what it is made of is not made yet.

    What comes late for it waits for this transaction, and then sets the step back.
    """
    with transaction.atomic():
        made = RolledUp.objects.select_for_update().in_bulk()
        if step not in made:
            return False
        start, end = made[step].until, made[step].until + timedelta(seconds=step)
        ready = made[finer].until if finer in made else settled
        if end > ready:
            return False
        _roll(step, finer, start)
        RolledUp.objects.filter(step=step).update(until=end)
    return True


def _vms() -> Iterator[list[int]]:
    """The ids of all VMs that have statistics, in parts."""
    last = 0
    while pks := list(
        VmCounters.objects.filter(vm_id__gt=last).order_by("vm_id").values_list("vm_id", flat=True)[:VMS_A_QUERY]
    ):
        yield pks
        last = pks[-1]


def _delete(condition: str, values: list[int | datetime], pks: list[int]) -> None:
    """Delete the VMs' usage that fulfils the condition, in statements that hold no lock for long."""
    table = connection.ops.quote_name(VmUsage._meta.db_table)
    marks = ", ".join(["%s"] * len(pks))
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                f"DELETE FROM {table} WHERE vm_id IN ({marks}) AND {condition} LIMIT {ROWS_A_DELETE}", [*pks, *values]
            )
            if cursor.rowcount < ROWS_A_DELETE:
                return


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
