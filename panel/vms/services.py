"""Writes about VMs that finish in one transaction. The one function that changes a VM's status is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from panel.cluster.models import Node
from panel.core import live, request_id
from panel.vms.models import Cause, StatusChange, Vm


@dataclass(frozen=True)
class Observation:
    """What was seen of a VM, where, when by the panel's clock, and why.

    `epoch` and `sequence` are vmwatch's; both 0 for what a task read by itself.
    """

    status: str
    at: datetime
    cause: str
    node: Node | None = None
    epoch: int = 0
    sequence: int = 0
    task_id: int | None = None


def record_status(vm: Vm, seen: Observation) -> bool:
    """Make an observation the VM's status, unless a newer one is there; True when the status changed.

    `vm` must be a row taken FOR UPDATE in the present transaction. A task's reading counts as taken
    when its command was sent (`at`), so an event that came meanwhile is never overwritten by it.
    """
    if seen.epoch:
        same_node = seen.node is not None and vm.observed_node_id == seen.node.pk
        if same_node and (seen.epoch, seen.sequence) <= (vm.observed_epoch, vm.observed_sequence):
            return False
        vm.observed_epoch, vm.observed_sequence = seen.epoch, seen.sequence
    elif vm.observed_at is not None and seen.at < vm.observed_at:
        return False
    changed = vm.status != seen.status
    vm.status, vm.observed_at = seen.status, seen.at
    if seen.node is not None:
        vm.observed_node = seen.node
    vm.save(update_fields=["status", "observed_at", "observed_node", "observed_epoch", "observed_sequence"])
    if changed:
        StatusChange.objects.create(
            vm=vm,
            status=seen.status,
            at=seen.at,
            node=seen.node,
            cause=seen.cause,
            task_id=seen.task_id,
            request_id=request_id.current(),
        )
        transaction.on_commit(lambda: vm_changed(vm))
    return changed


def confirm_status(vms: Sequence[Vm], *, node: Node, at: datetime, epoch: int, sequence: int) -> None:
    """The VMs were seen again with the status that they have: one query for all.

    Called with rows taken FOR UPDATE, and a message of vmwatch that is newer than any that was taken
    from that node.
    """
    seen = Vm.objects.filter(pk__in=[vm.pk for vm in vms])
    if vms:
        seen.update(observed_at=at, observed_node=node, observed_epoch=epoch, observed_sequence=sequence)
    for vm in vms:
        vm.observed_at, vm.observed_node = at, node
        vm.observed_epoch, vm.observed_sequence = epoch, sequence


def record_task_reading(vm_id: int, status: str, *, sent_at: datetime, node: Node, task_id: int) -> None:
    """Record what a task's own command saw of a VM; `sent_at` is when the command was sent."""
    with transaction.atomic():
        vm = Vm.objects.select_for_update().filter(pk=vm_id).first()
        if vm is not None:
            record_status(vm, Observation(status, sent_at, Cause.TASK, node, task_id=task_id))


def want(vm: Vm, wanted: str) -> None:
    """Remember what the owner asked for."""
    Vm.objects.filter(pk=vm.pk).update(wanted=wanted)


def vm_changed(vm: Vm, *, gone: bool = False) -> None:
    """Tell open pages of a VM's state; call after commit."""
    payload = {"id": vm.pk, "owner": vm.owner_id, "name": vm.name, "status": vm.status, "wanted": vm.wanted}
    live.publish("vm", {**payload, "observed_at": vm.observed_at or timezone.now(), "gone": gone})
