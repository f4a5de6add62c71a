"""Taking in what vmwatch-master hands over. An older message never overwrites a newer one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from panel.cluster.models import Node
from panel.monitoring.models import NodeWatch
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Cause, Vm, VmStatus
from panel.vms.services import Observation, record_status
from vmwatch import wire

log = logging.getLogger(__name__)

SILENT_AFTER = timedelta(seconds=45)
"""Three resync intervals of vmwatch-node without a word."""


def take_messages(messages: Sequence[wire.Message]) -> int:
    """Take in messages whose proof was checked, in their order; answers how many were new.

    All or nothing: vmwatch-master sends a batch again that it got no answer to.
    """
    taken = 0
    with transaction.atomic():
        nodes = {node.pk: node for node in Node.objects.filter(pk__in={each.node_id for each in messages})}
        watches = _watches(list(nodes.values()))
        now = timezone.now()
        for message in messages:
            watch = watches.get(message.node_id)
            if watch is None or (message.epoch, message.sequence) <= (watch.epoch, watch.sequence):
                continue
            watch.epoch, watch.sequence, watch.heard_at = message.epoch, message.sequence, now
            _apply(message, nodes[message.node_id], now)
            taken += 1
        NodeWatch.objects.bulk_update(watches.values(), ["epoch", "sequence", "heard_at"])
    return taken


def _watches(nodes: Sequence[Node]) -> dict[int, NodeWatch]:
    """The nodes' watch rows, held until the transaction ends, so that batches follow one another."""
    NodeWatch.objects.bulk_create([NodeWatch(node=node) for node in nodes], ignore_conflicts=True)
    rows = NodeWatch.objects.select_for_update().filter(node__in=nodes).order_by("node_id")
    return {row.node_id: row for row in rows}


def _apply(message: wire.Message, node: Node, now: datetime) -> None:
    uuids = [domain.uuid for domain in message.domains]
    vms = Vm.objects.select_for_update().filter(node=node).order_by("pk")
    if message.kind == wire.EVENT:
        vms = vms.filter(uuid__in=uuids)
    states = {domain.uuid: domain.state for domain in message.domains}
    found = list(vms)
    tasks = open_tasks_of("vm", [vm.pk for vm in found])
    for vm in found:
        state = states.get(str(vm.uuid), VmStatus.MISSING)
        if state == VmStatus.MISSING and not vm.installed:
            # A VM that is being made has no domain yet; one that is being deleted has none any more.
            continue
        task = tasks.get(vm.pk)
        cause = Cause.TASK if task is not None else Cause.OUTSIDE
        seen = Observation(state, now, cause, node, message.epoch, message.sequence, task.pk if task else None)
        record_status(vm, seen)


def mark_silent_nodes() -> int:
    """VMs of nodes that have been silent too long become unknown; answers how many did."""
    marked = 0
    before = timezone.now() - SILENT_AFTER
    for watch in NodeWatch.objects.filter(heard_at__lt=before).select_related("node"):
        with transaction.atomic():
            vms = Vm.objects.select_for_update().filter(node=watch.node).exclude(status=VmStatus.UNKNOWN)
            for vm in vms.order_by("pk"):
                # The time it was last seen stays: that is what a person wants to know.
                seen = Observation(VmStatus.UNKNOWN, vm.observed_at or before, Cause.SILENCE, watch.node)
                marked += record_status(vm, seen)
    return marked
