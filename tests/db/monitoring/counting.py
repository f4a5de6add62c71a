"""Collections of counters, and the rows that become of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.db import transaction

from panel.cluster.models import Node
from panel.monitoring.models import Step, VmUsage
from panel.monitoring.statistics import intake
from panel.vms.models import Vm
from tests.db.monitoring.messages import EPOCH
from vmwatch import wire

NOW = datetime(2026, 3, 31, 23, 50, tzinfo=UTC)


def counted(vm: Vm, value: int, run: int = 1, **changes: int) -> wire.DomainStatistics:
    """A domain whose every counter is `value`, but for the changes."""
    disk = {name: changes.get(name, value) for name in ("read_bytes", "read_requests", "write_bytes", "write_requests")}
    net = {name: changes.get(name, value) for name in ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")}
    return wire.DomainStatistics(
        str(vm.uuid),
        run,
        changes.get("cpu_ns", value),
        131072,
        90000,
        [wire.DiskStatistics("vda", **disk)],
        [wire.InterfaceStatistics("vnet0", **net)],
    )


def take(
    at: datetime,
    *found: wire.DomainStatistics,
    node: Node,
    now: datetime | None = None,
    clock: float = 0.0,
    boot: str = "",
) -> None:
    """Take a collection in that left the node at that time, at once unless a later time is given."""
    message = wire.Message(
        node.pk,
        EPOCH,
        int(at.timestamp()),
        time.time(),
        wire.STATISTICS,
        statistics=list(found),
        clock=clock,
        boot=boot,
    )
    with transaction.atomic():
        intake.take([(message, at)], {node.pk: node}, now or at)


def collected(vm: Vm, sequence: int, value: int) -> wire.Message:
    """A collection's message of one VM, as it comes to the panel."""
    return wire.Message(vm.node_id, EPOCH, sequence, time.time(), wire.STATISTICS, statistics=[counted(vm, value)])


def rows(vm: Vm, step: int = Step.TEN_MINUTES) -> list[tuple[datetime, int, int]]:
    """Time, seconds and received bytes of the VM's rows."""
    found = VmUsage.objects.filter(vm_id=vm.pk, step=step).order_by("at")
    return list(found.values_list("at", "seconds", "rx_bytes"))
