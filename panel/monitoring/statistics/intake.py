"""Counters that vmwatch-node collected become rows of what was added.

A constant number of queries for a message, however many domains it tells of; nothing that a user's request
writes is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import Model

from panel.cluster.models import Node
from panel.monitoring.models import RolledUp, Step, VmCounters, VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.vms.models import StatusChange, Vm
from vmwatch import wire


def take(collected: Sequence[tuple[wire.Message, datetime]], nodes: Mapping[int, Node]) -> None:
    """Take in statistics messages, each with the time (by the panel's clock) at which it left its node.

    Called within the transaction that takes the messages, which lets each of them through once.
    """
    for message, at in collected:
        _take(message.statistics, nodes[message.node_id], at)


def slot(at: datetime, step: int = Step.TEN_MINUTES) -> datetime:
    """The begin of the stretch of time that `at` lies in."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


ADD, REPLACE = "{0} + VALUES({0})", "VALUES({0})"
YOUNG = timedelta(hours=1)
"""A VM that is not older has done all that its first counters say since it was made."""


def added(before: VmCounters | None, now: VmCounters, *, young: bool = False) -> dict[str, int]:
    """What was added to the counters since `before`.

    A domain that was started anew counts from 0, and so does one whose counters are smaller than they
    were. Of a VM that is seen for the first time and is not young nobody knows since when it counts:
    nothing is added.
    """
    if before is None:
        return {name: getattr(now, name) if young else 0 for name in COUNTERS}
    anew = before.run != now.run or before.node_id != now.node_id
    found = {}
    for name in COUNTERS:
        value, earlier = getattr(now, name), getattr(before, name)
        found[name] = value if anew or value < earlier else value - earlier
    return found


def _take(told: Sequence[wire.DomainStatistics], node: Node, at: datetime) -> None:
    by_uuid = {each.uuid: each for each in told}
    found = Vm.objects.filter(node=node, uuid__in=by_uuid).values_list("pk", "uuid", "created_at")
    vms = {str(uuid): pk for pk, uuid, _ in found}
    young = {pk for pk, _, created_at in found if at - created_at < YOUNG}
    before = VmCounters.objects.in_bulk(vms.values())
    now = [_counters(by_uuid[uuid], pk, node, at) for uuid, pk in vms.items()]
    now = [each for each in now if each.vm_id not in before or before[each.vm_id].at < at]
    if not now:
        return
    differences = {each.vm_id: added(before.get(each.vm_id), each, young=each.vm_id in young) for each in now}
    _judge(now, before, differences)
    fields = [field.attname for field in VmCounters._meta.concrete_fields if not field.primary_key]
    VmCounters.objects.bulk_create(now, update_conflicts=True, update_fields=fields)
    _add_usage(now, before, differences, {pk: by_uuid[uuid] for uuid, pk in vms.items()})
    _add_traffic(differences, at)
    # What comes late is added up again.
    RolledUp.objects.filter(until__gt=slot(at, Step.HOUR), step=Step.HOUR).update(until=slot(at, Step.HOUR))
    RolledUp.objects.filter(until__gt=slot(at, Step.DAY), step=Step.DAY).update(until=slot(at, Step.DAY))


def _counters(told: wire.DomainStatistics, vm_id: int, node: Node, at: datetime) -> VmCounters:
    return VmCounters(
        vm_id=vm_id,
        node_id=node.pk,
        run=told.run,
        at=at,
        cpu_ns=told.cpu_ns,
        read_bytes=sum(disk.read_bytes for disk in told.disks),
        read_requests=sum(disk.read_requests for disk in told.disks),
        write_bytes=sum(disk.write_bytes for disk in told.disks),
        write_requests=sum(disk.write_requests for disk in told.disks),
        rx_bytes=sum(each.rx_bytes for each in told.interfaces),
        rx_packets=sum(each.rx_packets for each in told.interfaces),
        tx_bytes=sum(each.tx_bytes for each in told.interfaces),
        tx_packets=sum(each.tx_packets for each in told.interfaces),
    )


def _judge(
    now: Iterable[VmCounters], before: Mapping[int, VmCounters], differences: Mapping[int, Mapping[str, int]]
) -> None:
    """Note of each VM that ran for the whole period whether it received nothing, or wrote nothing.

    Those that were started, paused or stopped meanwhile are not judged.
    """
    same = [each for each in now if each.vm_id in before and before[each.vm_id].run == each.run]
    if not same:
        return
    since = min(before[each.vm_id].at for each in same)
    pks = [each.vm_id for each in same]
    changes = StatusChange.objects.filter(vm__in=pks, at__gte=since, repeated=False)
    unsteady = {vm_id for vm_id, at in changes.values_list("vm_id", "at") if at >= before[vm_id].at}
    for each in same:
        if each.vm_id not in unsteady:
            each.quiet_packets = differences[each.vm_id]["rx_packets"] == 0
            each.quiet_writes = differences[each.vm_id]["write_requests"] == 0


def _add_usage(
    now: Iterable[VmCounters],
    before: Mapping[int, VmCounters],
    differences: Mapping[int, Mapping[str, int]],
    told: Mapping[int, wire.DomainStatistics],
) -> None:
    rows = []
    for each in now:
        earlier = before.get(each.vm_id)
        seconds = round((each.at - earlier.at).total_seconds()) if earlier is not None else 0
        memory = (told[each.vm_id].memory_kib, told[each.vm_id].rss_kib)
        place = (each.vm_id, Step.TEN_MINUTES.value, slot(each.at))
        rows.append((*place, seconds, *memory, *differences[each.vm_id].values()))
    changes = {"seconds": ADD, "memory_kib": REPLACE, "rss_kib": REPLACE, **dict.fromkeys(COUNTERS, ADD)}
    _upsert(VmUsage, ("vm_id", "step", "at"), changes, rows)


def _add_traffic(differences: Mapping[int, Mapping[str, int]], at: datetime) -> None:
    month = at.astimezone(UTC).date().replace(day=1)
    rows = [(pk, month, found["rx_bytes"], found["tx_bytes"]) for pk, found in differences.items()]
    _upsert(VmTraffic, ("vm_id", "month"), {"rx_bytes": ADD, "tx_bytes": ADD}, rows)


def _upsert(
    model: type[Model], key: Sequence[str], changes: Mapping[str, str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows of the key's and the changes' columns, or change those that are there.

    Django has no form for "add to what is there".
    """
    quote = connection.ops.quote_name
    names = ", ".join(quote(column) for column in (*key, *changes))
    places = ", ".join(["%s"] * (len(key) + len(changes)))
    sets = ", ".join(f"{quote(column)} = {change.format(quote(column))}" for column, change in changes.items())
    with connection.cursor() as cursor:
        # mysqlclient makes one statement of it, because of its form.
        cursor.executemany(
            f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({places}) ON DUPLICATE KEY UPDATE {sets}",
            rows,  # type: ignore[arg-type]
        )
