"""Taking in what vmwatch-master hands over. An older message never overwrites a newer one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from panel.cluster.models import Node
from panel.monitoring.models import NodeWatch
from panel.tasks.models import Task
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Cause, Vm, VmStatus
from panel.vms.services import Observation, confirm_status, record_status
from vmwatch import wire

log = logging.getLogger(__name__)

SILENT_AFTER = timedelta(seconds=45)
"""Three resync intervals of vmwatch-node without a word."""


def take_messages(messages: Sequence[wire.Message]) -> int:
    """Take in messages whose proof was checked, in their order; answers how many were new.

    All or nothing: vmwatch-master sends a batch again that it got no answer to.
    """
    with transaction.atomic():
        nodes = {node.pk: node for node in Node.objects.filter(pk__in={each.node_id for each in messages})}
        watches = _watches(list(nodes.values()))
        now = timezone.now()
        news = []
        for message in messages:
            watch = watches.get(message.node_id)
            if watch is None or (message.epoch, message.sequence) <= (watch.epoch, watch.sequence):
                continue
            watch.epoch, watch.sequence, watch.heard_at = message.epoch, message.sequence, now
            news.append(message)
        vms = _vms_of(news)
        tasks = open_tasks_of("vm", [vm.pk for of_node in vms.values() for vm in of_node.values()])
        for message in news:
            _apply(message, vms.get(message.node_id, {}), tasks, nodes[message.node_id], now)
        NodeWatch.objects.bulk_update(watches.values(), ["epoch", "sequence", "heard_at"])
    return len(news)


def _watches(nodes: Sequence[Node]) -> dict[int, NodeWatch]:
    """The nodes' watch rows, held until the transaction ends, so that batches follow one another."""
    NodeWatch.objects.bulk_create([NodeWatch(node=node) for node in nodes], ignore_conflicts=True)
    rows = NodeWatch.objects.select_for_update().filter(node__in=nodes).order_by("node_id")
    return {row.node_id: row for row in rows}


def _vms_of(messages: Sequence[wire.Message]) -> dict[int, dict[str, Vm]]:
    """The VMs that the messages say something of, by node and UUID; one query, held until the transaction ends."""
    whole = {each.node_id for each in messages if each.kind == wire.PICTURE}
    events = [each for each in messages if each.kind == wire.EVENT and each.node_id not in whole]
    named = Q(node__in={each.node_id for each in events}, uuid__in={d.uuid for each in events for d in each.domains})
    vms: dict[int, dict[str, Vm]] = {}
    for vm in Vm.objects.select_for_update().filter(Q(node__in=whole) | named).order_by("pk"):
        vms.setdefault(vm.node_id, {})[str(vm.uuid)] = vm
    return vms


def _apply(message: wire.Message, vms: Mapping[str, Vm], tasks: Mapping[int, Task], node: Node, now: datetime) -> None:
    """Record what one message says of its node's VMs."""
    states = {domain.uuid: domain.state for domain in message.domains if domain.uuid in vms}
    if message.kind == wire.PICTURE:
        states = {**dict.fromkeys(vms, wire.MISSING), **states}
    as_before = []
    for uuid, state in states.items():
        vm = vms[uuid]
        if state == VmStatus.MISSING and not vm.installed:
            # A VM that is being made has no domain yet; one that is being deleted has none any more.
            continue
        if state == vm.status:
            as_before.append(vm)
            continue
        task = tasks.get(vm.pk)
        seen = Observation(
            state, now, _cause(vm, task), node, message.epoch, message.sequence, task.pk if task else None
        )
        record_status(vm, seen)
    confirm_status(as_before, node=node, at=now, epoch=message.epoch, sequence=message.sequence)


def _cause(vm: Vm, task: Task | None) -> str:
    if task is not None:
        return Cause.TASK
    # Nothing happened to a VM whose status was just not known.
    return Cause.VMWATCH if vm.status == VmStatus.UNKNOWN else Cause.OUTSIDE


def mark_silent_nodes() -> int:
    """VMs of nodes that have been silent too long become unknown; answers how many did."""
    marked = 0
    before = timezone.now() - SILENT_AFTER
    silent = NodeWatch.objects.filter(heard_at__lt=before)
    for pk in list(silent.values_list("pk", flat=True)):
        with transaction.atomic():
            # Looked at again under the lock that take_messages holds: a word may have come just now.
            watch = silent.select_for_update().filter(pk=pk).first()
            if watch is None:
                continue
            vms = Vm.objects.select_for_update().filter(node_id=watch.node_id).exclude(status=VmStatus.UNKNOWN)
            for vm in vms.order_by("pk"):
                # The time it was last seen stays: that is what a person wants to know.
                seen = Observation(VmStatus.UNKNOWN, vm.observed_at or before, Cause.SILENCE, watch.node)
                marked += record_status(vm, seen)
    return marked
