"""Reading statistics, of VMs that the viewer may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Max, Q, QuerySet, Sum
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.selectors import get_node
from panel.core.errors import InvalidValue
from panel.core.wording import Text, one_of
from panel.monitoring.models import RolledUp, Step, VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.vms.models import Vm, VmStatus
from panel.vms.selectors import get_vm

MOST_ROWS = 2000
RECENT = timedelta(minutes=30)
"""What a collection says holds for so long; they come every ten minutes."""
STEPS = {step.label: step for step in Step}


@dataclass(frozen=True)
class Period:
    """A stretch of time that a VM's page shows curves of, and the length of the rows that they are drawn from."""

    name: str
    step: str
    seconds: int

    @property
    def step_seconds(self) -> int:
        """The length of a row."""
        return STEPS[self.step].value


PERIODS = (
    Period("day", "10m", 86400),
    Period("week", "hour", 7 * 86400),
    Period("month", "hour", 31 * 86400),
    Period("year", "day", 366 * 86400),
)


def usage(viewer: User, vm_id: int, step: str, since: datetime | None, until: datetime | None) -> list[VmUsage]:
    """What a VM used from `since` (a hundred steps ago) to `until` (now), by "10m", "hour" or "day", oldest first.

    Raises NotFound, or InvalidValue naming the field, also for more than MOST_ROWS rows.
    """
    return list(_rows(get_vm(viewer, vm_id).pk, step, since, until).order_by("at"))


def node_usage(
    viewer: User, node_id: int, step: str, since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    """What the VMs that a node has now used together, in rows as usage() has them: those that went away took theirs.

    Raises NotFound, or InvalidValue as usage() does.
    """
    here = Vm.objects.filter(node_id=get_node(viewer, node_id).pk).values("pk")
    rows = _rows(here, step, since, until)
    sums = {name: Sum(name) for name in ("memory_kib", "rss_kib", *COUNTERS)}
    return [dict(row) for row in rows.order_by("at").values("at").annotate(seconds=Max("seconds"), **sums)]


def _rows(vms: Any, step: str, since: datetime | None, until: datetime | None) -> QuerySet[VmUsage]:
    """The rows of one VM, or of several."""
    if step not in STEPS:
        raise InvalidValue(one_of("step", STEPS), field="step")
    length = timedelta(seconds=STEPS[step])
    end = until or timezone.now()
    try:
        begin = since or end - 100 * length
    except OverflowError:
        raise InvalidValue("“to” is too early.", field="to") from None
    if begin >= end:
        raise InvalidValue("“from” must be before “to”.", field="from")
    if (end - begin) / length > MOST_ROWS:
        raise InvalidValue(
            Text("That is more than {most} rows; ask for less, or a longer step.", {"most": MOST_ROWS}), field="from"
        )
    found = {"vm_id": vms} if isinstance(vms, int) else {"vm_id__in": vms}
    return VmUsage.objects.filter(**found, step=STEPS[step], at__gte=begin, at__lt=end)


def traffic(viewer: User, vm_id: int) -> list[VmTraffic]:
    """What a VM received and sent in each month, the newest first; raises NotFound."""
    return traffic_of(get_vm(viewer, vm_id))


def traffic_of(vm: Vm) -> list[VmTraffic]:
    """The same of a VM that was read already."""
    return list(VmTraffic.objects.filter(vm_id=vm.pk).order_by("-month")[:120])


def warnings(vm: Vm) -> list[str]:
    """What is strange about a running VM, if its cluster wants that checked.

    The VM must have been read with its cluster and counters. The rule is VMmanager's: received packets or
    write requests that are 0 over a collection's period.
    """
    counters = getattr(vm, "counters", None)
    if counters is None or not vm.cluster.check_vm_status or vm.status != VmStatus.RUNNING:
        return []
    if counters.node_id != vm.node_id or timezone.now() - counters.at > RECENT:
        return []
    found = []
    if counters.quiet_packets:
        found.append("No packet was received since the last statistics.")
    if counters.quiet_writes:
        found.append("Nothing was written to its disks since the last statistics.")
    return found


def daily_traffic(viewer: User, vm_id: int, since: datetime, until: datetime) -> list[tuple[date, int, int]]:
    """What a VM received and sent on each day (UTC) on which it did, in bytes, oldest first; raises NotFound.

    Days that are not added up yet are counted from the stretches of ten minutes that they are made of.
    """
    vm = get_vm(viewer, vm_id)
    rolled = RolledUp.objects.filter(step=Step.DAY).values_list("until", flat=True).first()
    border = max(since, rolled) if rolled else since
    rows = VmUsage.objects.filter(vm_id=vm.pk).filter(
        Q(step=Step.DAY, at__gte=since, at__lt=min(border, until))
        | Q(step=Step.TEN_MINUTES, at__gte=border, at__lt=until)
    )
    days: dict[date, list[int]] = {}
    for at, received, sent in rows.order_by("at").values_list("at", "rx_bytes", "tx_bytes"):
        day = days.setdefault(at.date(), [0, 0])
        day[0], day[1] = day[0] + received, day[1] + sent
    return [(day, received, sent) for day, (received, sent) in sorted(days.items())]
