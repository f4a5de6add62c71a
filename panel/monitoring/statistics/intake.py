"""Counters that vmwatch-node collected become rows of what was added.

A constant number of queries for a message, however many domains it tells of; nothing that a user's request
writes is locked.
"""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection
from django.db.models import Model, Q
from django.utils import timezone

from panel.cluster.models import Node
from panel.monitoring.models import RolledUp, Step, VmCounters, VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS, kept_since, slot
from panel.monitoring.statistics import unread
from panel.monitoring.statistics.counters import AT_START, DISK, INTERFACE, Reading, advance, is_known
from panel.vms.models import StatusChange, Vm, VmStatus
from vmwatch import wire

ADD, REPLACE = "{0} + VALUES({0})", "VALUES({0})"
YOUNG = timedelta(hours=1)
"""A VM that is not older has done all that its first counters say since it was made."""
NOBODY = 0
"""The node of counters of a VM that has none yet: held while its first are taken in, and gone with that."""
LONGEST_BOOT = 36
LONGEST_OF_A_START = timedelta(seconds=Step.TEN_MINUTES)
"""When a domain was started is not told; of a new run so much is taken for counted."""


@dataclass(frozen=True)
class Collection:
    """Counters of domains of a node, as read together.

    `at` is when, by the panel's clock; `clock` and `boot` tell it by the node's, 0 and "" where it is not known.
    (`epoch`, `sequence`) order vmwatch-node's, and are 0 of what a task read. `final`: the domains ended with it.
    """

    node: Node
    at: datetime
    domains: Sequence[wire.DomainStatistics]
    epoch: int = 0
    sequence: int = 0
    clock: float = 0.0
    boot: str = ""
    final: bool = False


@dataclass(frozen=True)
class Advance:
    """What a collection says of one VM: its row before and now, what was added, and in what time."""

    vm: Vm
    before: VmCounters | None
    now: VmCounters
    read: Reading
    added: dict[str, int]
    same_run: bool
    steady: bool
    """Whether the VM ran all the time between."""

    @property
    def since(self) -> datetime:
        """From when on it was counted."""
        if self.before is None:
            return self.now.at
        return self.before.at if self.same_run else max(self.before.at, self.now.at - LONGEST_OF_A_START)


def take(
    collected: Iterable[tuple[wire.Message, datetime]], nodes: Mapping[int, Node], now: datetime | None = None
) -> None:
    """Take in the counters of messages, each with the time (by the panel's clock) at which they were read.

    Called within the transaction that takes the messages. A message that others have overtaken counts as
    long as nothing newer was said of its domains, which may have been stopped since.
    """
    now = now or timezone.now()
    in_order = sorted(collected, key=lambda each: (each[0].node_id, each[0].epoch, each[0].sequence))
    for message, at in in_order:
        add(
            Collection(
                nodes[message.node_id],
                at,
                message.statistics,
                message.epoch,
                message.sequence,
                message.clock - message.age if message.clock else 0.0,
                message.boot[:LONGEST_BOOT],
                message.final,
            ),
            now,
        )


def add(collection: Collection, now: datetime) -> None:
    """Take in one collection; within a transaction, until the end of which the counters of its VMs are held."""
    # Of one that is older its hour and day could not be added up anew: the other rows of them may be gone.
    if collection.at >= kept_since(Step.TEN_MINUTES, now):
        _take(collection, now)


def forget_quiet(vm_ids: Sized[int]) -> None:
    """Something happened to these VMs: what the last collection said of them holds no more."""
    marked = VmCounters.objects.filter(Q(quiet_packets=True) | Q(quiet_writes=True), vm_id__in=vm_ids)
    marked.update(quiet_packets=False, quiet_writes=False)


def _take(collection: Collection, now: datetime) -> None:
    at = collection.at
    late = slot(at, Step.HOUR) + timedelta(seconds=Step.HOUR) <= now
    if late:
        # Its hour may just be added up: what is inserted below would be missed. Held until the transaction ends.
        list(RolledUp.objects.select_for_update().order_by("step"))
    found = _advances(collection)
    if not found:
        return
    unread.keep([(each.vm, each.before, each.now.at) for each in found if not each.same_run])
    fields = [field.attname for field in VmCounters._meta.concrete_fields if not field.primary_key]
    VmCounters.objects.bulk_create([each.now for each in found], update_conflicts=True, update_fields=fields)
    _add_usage(found)
    _add_traffic(found)
    if late:
        for step in (Step.HOUR, Step.DAY):
            RolledUp.objects.filter(step=step, until__gt=slot(at, step)).update(until=slot(at, step))


def _advances(collection: Collection) -> list[Advance]:
    node, at = collection.node, collection.at
    told = {each.uuid: each for each in collection.domains}
    # One that was moved away has its end here to be counted still.
    here = Q(node=node) | Q(counters__node_id=node.pk) if collection.final else Q(node=node)
    vms = {vm.pk: vm for vm in Vm.objects.filter(here, uuid__in=told).only("uuid", "created_at", "status")}
    earlier = _hold(vms.values())
    changes = StatusChange.objects.filter(
        vm__in=list(earlier), at__gte=min((each.at for each in earlier.values()), default=at), repeated=False
    )
    unsteady = {vm_id for vm_id, changed_at in changes.values_list("vm_id", "at") if changed_at >= earlier[vm_id].at}
    found = []
    for pk, vm in vms.items():
        before, domain = earlier.get(pk), told[str(vm.uuid)]
        same_run = before is not None and _is_same_run(collection, domain.run, before)
        if before is not None and ((same_run and before.closed) or not _is_newer(collection, before)):
            continue
        if same_run and before is not None:
            begin = Reading(**before.reading)
        elif before is not None or at - vm.created_at < YOUNG:
            begin = AT_START
        else:
            # Seen for the first time: nobody knows since when it counts.
            begin = Reading()
        read = Reading.of(domain)
        added, reading = advance(begin, read)
        now = VmCounters(
            vm_id=pk,
            node_id=node.pk,
            run=domain.run,
            at=max(at, before.at) if before is not None else at,
            epoch=collection.epoch or (before.epoch if before and before.node_id == node.pk else 0),
            sequence=collection.sequence or (before.sequence if before and before.node_id == node.pk else 0),
            clock=collection.clock,
            boot=collection.boot,
            reading=reading.as_json(),
            closed=collection.final and _is_whole(read),
        )
        steady = same_run and pk not in unsteady and vm.status == VmStatus.RUNNING
        each = Advance(vm, before, now, read, added, same_run, steady)
        _judge(each)
        found.append(each)
    return found


def _hold(vms: ValuesView[Vm]) -> dict[int, VmCounters]:
    """The counters of VMs as they are, held until the transaction ends; of one that has none, nobody else adds any."""
    rows = VmCounters.objects.select_for_update().order_by("pk")
    found = rows.in_bulk([vm.pk for vm in vms])
    if new := [VmCounters(vm=vm, node_id=NOBODY, run=0, at=vm.created_at) for vm in vms if vm.pk not in found]:
        VmCounters.objects.bulk_create(new, ignore_conflicts=True)
        found = rows.in_bulk([vm.pk for vm in vms])
    return {pk: row for pk, row in found.items() if row.node_id != NOBODY}


def _is_same_run(collection: Collection, run: int, before: VmCounters) -> bool:
    """Whether the same running domain was counted before; its number comes again after a start of the node."""
    if (before.node_id, before.run) != (collection.node.pk, run):
        return False
    return not (before.boot and collection.boot) or before.boot == collection.boot


def _is_whole(read: Reading) -> bool:
    """Whether all that its interfaces had counted was told; they may be gone before their domain is."""
    return read.interfaces is not None and all(None not in counts for counts in read.interfaces.values())


def _is_newer(collection: Collection, before: VmCounters) -> bool:
    if before.node_id != collection.node.pk:
        return collection.at > before.at
    if before.clock and collection.clock and before.boot == collection.boot:
        return collection.clock > before.clock
    if not (before.epoch and collection.epoch):
        return collection.at > before.at
    return (collection.epoch, collection.sequence) > (before.epoch, before.sequence)


def _judge(found: Advance) -> None:
    """Note of a VM that ran for the whole period whether it received nothing, or wrote nothing.

    Those that were started, paused or stopped meanwhile are not judged, nor what could not be read.
    """
    if not found.steady:
        return
    if is_known(found.read.interfaces, INTERFACE.index("rx_packets")):
        found.now.quiet_packets = found.added["rx_packets"] == 0
    if is_known(found.read.disks, DISK.index("write_requests")):
        found.now.quiet_writes = found.added["write_requests"] == 0


def _add_usage(found: Iterable[Advance]) -> None:
    rows = []
    for each in found:
        seconds = round((each.now.at - each.since).total_seconds())
        memory = tuple(_memory(each, name) for name in ("memory_kib", "rss_kib"))
        place = (each.now.vm_id, Step.TEN_MINUTES.value, slot(each.now.at))
        rows.append((*place, seconds, *memory, *each.added.values()))
    changes = {"seconds": ADD, "memory_kib": REPLACE, "rss_kib": REPLACE, **dict.fromkeys(COUNTERS, ADD)}
    _upsert(VmUsage, ("vm_id", "step", "at"), changes, rows)


def _memory(found: Advance, name: str) -> int:
    """What was read, or before that."""
    last = found.before.reading.get(name) if found.before is not None else None
    return found.now.reading[name] or last or 0


def _add_traffic(found: Iterable[Advance]) -> None:
    rows = []
    for each in found:
        rx_bytes, tx_bytes = each.added["rx_bytes"], each.added["tx_bytes"]
        for month, part in months(each.since, each.now.at):
            rx, tx = round(rx_bytes * part), round(tx_bytes * part)
            rows.append((each.now.vm_id, month, rx, tx))
            rx_bytes, tx_bytes = rx_bytes - rx, tx_bytes - tx
    _upsert(VmTraffic, ("vm_id", "month"), {"rx_bytes": ADD, "tx_bytes": ADD}, rows)


def months(since: datetime, until: datetime) -> Iterator[tuple[date, float]]:
    """The first day of each calendar month (UTC) of a stretch of time, with its part of what is left.

    The last part is 1, so that nothing is lost to rounding.
    """
    begin, until = since.astimezone(UTC), until.astimezone(UTC)
    while True:
        first = begin.date().replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
        end = datetime(following.year, following.month, 1, tzinfo=UTC)
        if end >= until:
            yield first, 1.0
            return
        yield first, (end - begin) / (until - begin)
        begin = end


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
