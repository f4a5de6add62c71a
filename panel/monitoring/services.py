"""Taking in what vmwatch-master hands over. An older message never overwrites a newer one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from panel.cluster.models import Node
from panel.monitoring import causes, duplicates, happenings, installing, interfaces, jobs, order, returning, suspending
from panel.monitoring.models import MasterWatch, NodeWatch
from panel.monitoring.statistics import waiting
from panel.monitoring.statistics.intake import forget_quiet
from panel.vms.models import Cause, Vm, VmStatus
from panel.vms.status import Observation, StatusLog, follows_reading, precedes_reading
from vmwatch import wire

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """One message to act on. `at` is when it left its node, by the panel's clock; `late` when newer ones were taken."""

    message: wire.Message
    node: Node
    at: datetime
    late: bool

    def clock_before(self, age: float) -> float:
        """The node's clock so long before the message left; 0 where the message does not say."""
        return self.message.clock - age if self.message.clock else 0.0


@dataclass(frozen=True)
class Told:
    """One event, from its own message or told again with a full report."""

    heard: Heard
    epoch: int
    sequence: int
    domain: wire.DomainState

    @property
    def at(self) -> datetime:
        """When it happened, by the panel's clock."""
        return self.heard.at - timedelta(seconds=self.domain.age)

    @property
    def observation(self) -> Observation:
        """What was seen, by whomever it was brought about."""
        clock, boot = self.heard.clock_before(self.domain.age), self.heard.message.boot
        return Observation(
            self.domain.state,
            self.at,
            Cause.VMWATCH,
            self.heard.node,
            self.epoch,
            self.sequence,
            detail=self.domain.detail,
            clock=clock,
            boot=boot,
        )


def take_messages(messages: Sequence[wire.Message], waited: Sequence[float] = ()) -> int:
    """Take in messages whose proof was checked, in the order of their arrival; answers how many were new.

    `waited` are the seconds that vmwatch-master has held each of them. All or nothing where the database
    fails: vmwatch-master sends a batch again that it got no answer to. A message that the panel itself
    breaks at is logged and passed over, or it would hold up the others for ever.
    """
    held = list(waited) or [0.0] * len(messages)
    try:
        return _take(messages, held)
    except DatabaseError:
        raise
    except Exception:
        log.exception("a batch of %d messages broke", len(messages))
    taken = 0
    for message, seconds in zip(messages, held, strict=True):
        try:
            taken += _take([message], [seconds])
        except DatabaseError:
            raise
        except Exception:
            log.exception("message %s of node %s is passed over", message.sequence, message.node_id)
    return taken


def _take(messages: Sequence[wire.Message], waited: Sequence[float]) -> int:
    with transaction.atomic():
        now = timezone.now()
        if not MasterWatch.objects.filter(id=1).update(heard_at=now):
            MasterWatch.objects.get_or_create(id=1, defaults={"heard_at": now})
        nodes = {node.pk: node for node in Node.objects.filter(pk__in={each.node_id for each in messages})}
        watches = _watches(list(nodes.values()))
        heard = []
        for message, seconds in zip(messages, waited, strict=True):
            watch = watches.get(message.node_id)
            verdict = order.take(watch, message.epoch, message.sequence) if watch is not None else order.KNOWN
            if watch is not None and verdict != order.KNOWN:
                left_at = now - timedelta(seconds=seconds)
                watch.heard_at = max(watch.heard_at or left_at, left_at)
                heard.append(Heard(message, nodes[message.node_id], left_at, verdict == order.LATE))
        Intake(heard, watches).take()
        NodeWatch.objects.bulk_update(watches.values(), ["epoch", "sequence", "heard_at", "gaps"])
        returning.ask_for_checks({each.node.pk: each.node for each in heard}.values())
    return len(heard)


def master_heard_at() -> datetime | None:
    """When vmwatch-master last spoke; None when it never has."""
    return MasterWatch.objects.filter(id=1).values_list("heard_at", flat=True).first()


def _watches(nodes: Sequence[Node]) -> dict[int, NodeWatch]:
    """The nodes' watch rows, held until the transaction ends, so that batches follow one another."""
    rows = list(NodeWatch.objects.select_for_update().filter(node__in=nodes).order_by("node_id"))
    if len(rows) < len(nodes):
        NodeWatch.objects.bulk_create([NodeWatch(node=node) for node in nodes], ignore_conflicts=True)
        rows = list(NodeWatch.objects.select_for_update().filter(node__in=nodes).order_by("node_id"))
    return {row.node_id: row for row in rows}


class Intake:
    """The messages of one batch that are to be acted on, and the VMs that they are about."""

    def __init__(self, heard: Sequence[Heard], watches: Mapping[int, NodeWatch]) -> None:
        self.heard = heard
        self.watches = watches
        self.vms = _vms_of(heard)
        vm_ids = [vm.pk for of_node in self.vms.values() for vm in of_node.values()]
        self.tasks = causes.tasks_since(_oldest(heard), vm_ids)
        self.log = StatusLog()

    def take(self) -> None:
        """Act on all of it."""
        happened = []
        for each in self.heard:
            for told in self._events(each):
                vm = self.vms.get(each.node.pk, {}).get(told.domain.uuid)
                if vm is not None and self._see(vm, told):
                    happened.append((vm, told.domain, told.at))
            # A full report that comes late says nothing that the newer one did not say.
            if each.message.kind == wire.FULL_REPORT and not each.late:
                self._look_at(each)
        self.log.write()
        happenings.report(happened)
        duplicates.compare(self._sights(), self.vms)
        installing.move_on(happened)
        suspending.look_at(vm for of_node in self.vms.values() for vm in of_node.values())
        if happened:
            forget_quiet({vm.pk for vm, _, _ in happened})
        interfaces.note(self.heard)
        counted = [each for each in self.heard if each.message.statistics]
        waiting.keep((each.message, each.at - timedelta(seconds=each.message.age)) for each in counted)

    def _events(self, heard: Heard) -> Iterator[Told]:
        """The message's own event, or those of a full report that never came by themselves."""
        message = heard.message
        if message.kind == wire.EVENT:
            for domain in message.domains:
                yield Told(heard, message.epoch, message.sequence, domain)
        for past in message.recent:
            if order.fill(self.watches[message.node_id], past.epoch, past.sequence):
                yield Told(heard, past.epoch, past.sequence, past.domain)

    def _see(self, vm: Vm, told: Told) -> bool:
        """Record an event of a VM; False for what says nothing of it."""
        if told.domain.state == VmStatus.MISSING and not vm.installed:
            # A VM that is being made has no domain yet; one that is being deleted has none any more.
            return False
        self.log.record(vm, self._caused(vm, told.observation))
        return True

    def _look_at(self, heard: Heard) -> None:
        """Record what a full report says of its node's VMs."""
        message, vms = heard.message, self.vms.get(heard.node.pk, {})
        at, clock = heard.at - timedelta(seconds=message.age), heard.clock_before(message.age)
        looked = Observation(
            "", at, Cause.VMWATCH, heard.node, message.epoch, message.sequence, clock=clock, boot=message.boot
        )
        domains = {domain.uuid: domain for domain in message.domains if domain.uuid in vms}
        jobs.note(vms, domains)
        as_before = []
        for uuid, vm in vms.items():
            domain = domains.get(uuid) or wire.DomainState(uuid, vm.name, wire.MISSING)
            if domain.state == VmStatus.MISSING and not vm.installed:
                continue
            if precedes_reading(vm, looked):
                # A task has read it since the full report was made.
                continue
            if domain.state == vm.status:
                as_before.append(vm)
            else:
                self.log.record(vm, self._caused(vm, replace(looked, status=domain.state, detail=domain.detail)))
        self.log.confirm(as_before, looked)

    def _caused(self, vm: Vm, seen: Observation) -> Observation:
        """What was seen of the VM, with who brought it about."""
        on_its_way = timedelta(0) if follows_reading(vm, seen) else causes.ON_ITS_WAY
        task = causes.task_at(seen.at, self.tasks.get(vm.pk, ()), on_its_way)
        return replace(
            seen,
            cause=causes.cause_of(vm, task),
            task_id=task.pk if task else None,
            request_id=task.request_id if task else "",
        )

    def _sights(self) -> Iterator[duplicates.Sight]:
        """What the messages say of domains of VMs that belong elsewhere, in their order."""
        for each in self.heard:
            if each.late or each.message.kind not in (wire.EVENT, wire.FULL_REPORT):
                continue
            own = self.vms.get(each.node.pk, {})
            states = {d.uuid: d.state for d in each.message.domains if d.uuid not in own}
            yield duplicates.Sight(each.node, each.at, states, whole=each.message.kind == wire.FULL_REPORT)


def _vms_of(heard: Iterable[Heard]) -> dict[int, dict[str, Vm]]:
    """The VMs that the messages say something of, by node and UUID; one query, held until the transaction ends."""
    whole = {each.node.pk for each in heard if each.message.kind == wire.FULL_REPORT}
    named: dict[int, set[str]] = {}
    for each in heard:
        if each.message.kind == wire.EVENT and each.node.pk not in whole:
            named.setdefault(each.node.pk, set()).update(domain.uuid for domain in each.message.domains)
    wanted = Q(node__in=whole)
    for node_id, uuids in named.items():
        wanted |= Q(node=node_id, uuid__in=uuids)
    vms: dict[int, dict[str, Vm]] = {}
    if whole or named:
        for vm in Vm.objects.select_for_update().filter(wanted).order_by("pk"):
            vms.setdefault(vm.node_id, {})[str(vm.uuid)] = vm
    return vms


def _oldest(heard: Iterable[Heard]) -> datetime:
    """When what the messages say first happened."""
    told = [
        each.at - timedelta(seconds=max(each.message.age, *ages, 0.0))
        for each in heard
        for ages in (
            [*(one.age for one in each.message.domains), *(past.domain.age for past in each.message.recent), 0.0],
        )
    ]
    return min(told, default=timezone.now())
