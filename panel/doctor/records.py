"""Whether the database agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from panel.core.wording import Text
from panel.doctor.findings import Finding, finding
from panel.network.models import Address
from panel.storage.models import Volume
from panel.tasks import locks
from panel.tasks.models import ENDED, Status, Task, TaskLock, TaskSecret
from panel.vms import drift, elsewhere
from panel.vms.machine import FACTS
from panel.vms.models import AuxiliaryDisk, Disk, Purpose, Sighting, Snapshot, SnapshotState, Vm
from panel.vms.usage import differing

ABANDONED = timedelta(seconds=60)
"""A task whose worker died is taken over after its lease, and announced again with each sweep."""
MOST = 200
"""Findings of one kind; where there are more, one tells enough of them."""


def busy_vms() -> set[int]:
    """Ids of the VMs that a task is at: they are allowed to be between two states."""
    tasks = Task.objects.filter(object_type="vm").exclude(status__in=ENDED)
    return {pk for pk in tasks.values_list("object_id", flat=True) if pk is not None}


def examine() -> Iterator[Finding]:
    """What is wrong in the database alone."""
    yield from _tasks()
    yield from _left_by_tasks()
    yield from _left_by_vms()
    yield from _snapshots()
    yield from _by_hand()
    yield from _usage()


def _by_hand() -> Iterator[Finding]:
    """What somebody did to VMs on their nodes, as vmwatch told and as the nodes' checks found."""
    busy = busy_vms()
    for vm in Vm.objects.exclude(drift=[]).order_by("pk")[:MOST]:
        # The name and being defined are compared with the node itself (nodes.py).
        differs = [each for each in vm.drift if each["field"] not in ("name", "persistent")]
        if differs and vm.pk not in busy:
            data = {"vm": vm.name, "told": drift.told(differs), "ways": drift.ways(vm.name, differs)}
            text = Text("{vm} is described otherwise on its node: {told}. {ways}", data)
            yield finding("domain_differs", f"vm {vm.pk}", text, mend=_mend(differs))
    left = Sighting.objects.filter(accepted=False).exclude(status__in=elsewhere.ACTIVE)
    for sighting in left.select_related("vm__node", "node").order_by("pk")[:MOST]:
        vm = sighting.vm
        data = {"vm": vm.name, "other_node": sighting.node.name, "source_node": vm.node.name}
        text = Text(
            "{vm} ran last on {other_node}, and belongs to {source_node}: its newest data are where it ran last.", data
        )
        yield finding("moved", f"vm {vm.pk}", text, mend="vm.settle")


def _mend(differs: list[dict[str, Any]]) -> str:
    """What would not lose anything."""
    if any(drift.other_file(each) for each in differs):
        return ""
    return "vm.adopt" if all(each["field"] in FACTS for each in differs) else "vm.repair"


def _tasks() -> Iterator[Finding]:
    for task in Task.objects.filter(status=Status.STUCK)[:MOST]:
        yield finding("task_stuck", f"task {task.pk}", Text("{task}: an undo failed.", {"task": task.worded_title}))
    since = timezone.now() - ABANDONED
    due = Q(status__in=(Status.QUEUED, Status.RETRYING), next_run_at__lt=since)
    silent = Q(status__in=(Status.RUNNING, Status.UNDOING), lease_until__lt=since)
    for task in Task.objects.filter(due | silent).order_by("pk")[:MOST]:
        if task.status != Status.QUEUED or not locks.blocker(task):
            text = Text("{task}: no worker carries it on.", {"task": task.worded_title})
            yield finding("task_abandoned", f"task {task.pk}", text)


def _left_by_tasks() -> Iterator[Finding]:
    for lock in TaskLock.objects.filter(task__status__in=ENDED).order_by("pk")[:MOST]:
        text = Text("Locked by task {task}, which has ended.", {"task": lock.task_id})
        yield finding("lock_left", f"{lock.kind} {lock.object_id}", text)
    for secret in TaskSecret.objects.filter(task__status__in=ENDED).order_by("pk")[:MOST]:
        yield finding("secret_left", f"task {secret.task_id}", Text("Its secret was not deleted."))


def _left_by_vms() -> Iterator[Finding]:
    for address in Address.objects.filter(held=None, reserved=False, waits_until=None).order_by("pk")[:MOST]:
        yield finding("address_left", f"address {address.ip}", Text("In use by nothing."))
    for volume in Volume.objects.filter(disk=None, auxiliary_disk=None).order_by("pk")[:MOST]:
        yield finding("volume_left", f"volume {volume.uuid}", Text("No VM has it."))
    busy = busy_vms()
    for auxiliary_disk in (
        AuxiliaryDisk.objects.exclude(purpose=Purpose.RESCUE).select_related("vm").order_by("pk")[:MOST]
    ):
        if auxiliary_disk.vm_id not in busy:
            text = Text("A system of {vm} that is to be deleted.", {"vm": auxiliary_disk.vm.name})
            yield finding("volume_left", f"vm {auxiliary_disk.vm_id}", text)
    for disk in (
        Disk.objects.exclude(volume__node=None)
        .exclude(volume__node=F("vm__node"))
        .select_related("vm")
        .order_by("pk")[:MOST]
    ):
        if disk.vm_id not in busy:
            text = Text("Disk {disk} of {vm} is on another node.", {"disk": disk.target, "vm": disk.vm.name})
            yield finding("volume_elsewhere", f"vm {disk.vm_id}", text)
    for vm in Vm.objects.filter(installed=False).order_by("pk")[:MOST]:
        if vm.pk not in busy:
            yield finding("vm_half_made", f"vm {vm.pk}", Text("{vm} was never finished.", {"vm": vm.name}))


def _snapshots() -> Iterator[Finding]:
    for row in Snapshot.objects.filter(state=SnapshotState.FAILED).select_related("vm").order_by("pk")[:MOST]:
        data = {"snapshot": row.name, "vm": row.vm.name, "reason": row.reason}
        text = Text("The snapshot “{snapshot}” of {vm} was not deleted: {reason}", data)
        yield finding("snapshot_left", f"vm {row.vm_id}", text, mend="vm.delete-snapshot")


def _usage() -> Iterator[Finding]:
    for vm_id in islice(differing(), MOST):
        text = Text("The ledger of usage says something else than its rows do.")
        yield finding("usage_differs", f"vm {vm_id}", text)
