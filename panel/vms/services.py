"""Writes about VMs that finish in one transaction; status.py has those of what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from nodeagent.protocol.settings import Difference
from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.core import live
from panel.core.errors import AlreadyExists, InvalidValue, WrongState
from panel.core.permissions import allows
from panel.tasks.models import Task
from panel.vms.limits import Resources, require_within_limits
from panel.vms.models import Cause, Vm
from panel.vms.status import Observation, StatusLog, tell_gone, tell_pages
from panel.vms.usage import note_shape, note_size


def record_task_reading(
    vm_id: int, status: str, *, sent_at: datetime, node: Node, task_id: int, clock: float = 0.0, boot: str = ""
) -> None:
    """Record what a task's own command saw of a VM.

    `sent_at` is when the command was sent, `clock` and `boot` when the node looked, by its own clock.
    """
    with transaction.atomic():
        vm = Vm.objects.select_for_update().filter(pk=vm_id).first()
        if vm is not None:
            now = timezone.now()
            seen = Observation(
                status, sent_at, Cause.TASK, node, task_id=task_id, clock=clock, boot=boot, answered_at=now
            )
            log = StatusLog()
            log.record(vm, seen)
            log.write()


def record_pending(vm_id: int, pending: Sequence[Difference]) -> list[dict[str, Any]]:
    """Note what of a running VM waits for its next start; answers it as it is kept."""
    found = [{"field": each.field, "now": each.now, "then": each.then} for each in pending]
    with transaction.atomic():
        Vm.objects.filter(pk=vm_id).update(pending=found)
        note_size(vm_id)
    tell_changed(vm_id)
    return found


def tell_changed(vm_id: int) -> None:
    """Tell open pages that a VM is not as it was; call after commit."""
    if (vm := Vm.objects.filter(pk=vm_id).first()) is not None:
        tell_pages([vm])


def want(vm: Vm, wanted: str) -> None:
    """Remember what the owner asked for."""
    Vm.objects.filter(pk=vm.pk).update(wanted=wanted)


def refuse_taken_name(cluster: Cluster, name: str) -> None:
    """Raise AlreadyExists when the cluster has a VM of the name."""
    if Vm.objects.filter(cluster=cluster, name=name).exists():
        raise AlreadyExists("Another VM has this name.", field="name", object="VM")


def gone(vm: Vm) -> WrongState:
    """The refusal of a VM whose domain is not on its node."""
    return WrongState(object="vm", id=vm.pk, state="missing on its node", field="id")


def started_from_iso(vm: Vm) -> None:
    """The start that was to be from the ISO image was; the next one is as the VM's settings say."""
    Vm.objects.filter(pk=vm.pk).update(boot_iso_once=False)
    tell_changed(vm.pk)


@transaction.atomic
def change_owner(vm: Vm, owner: User) -> None:
    """The VM belongs to `owner`, who sees its tasks; whoever had it before does not any more."""
    if vm.owner_id != owner.pk:
        require_within_limits(owner, Resources.at_most(vm))
    before = Vm.objects.select_for_update().get(pk=vm.pk)
    Vm.objects.filter(pk=vm.pk).update(owner=owner)
    Task.objects.filter(object_type="vm", object_id=vm.pk).update(owner=owner)
    note_shape(vm.pk)
    now = Vm.objects.get(pk=vm.pk)
    if before.owner_id != owner.pk:
        Vm.objects.filter(pk=vm.pk).update(known_to_former_owner=True)
        transaction.on_commit(lambda: tell_gone(before))
        live.tell_rights(vm_id=vm.pk)
    transaction.on_commit(lambda: tell_pages([now]))


def refuse_unfit_owner(owner: User) -> None:
    """Raise InvalidValue for somebody whom no VM can be given: disabled, or without the right to anything of one."""
    if not owner.is_active:
        raise InvalidValue("This user is disabled.", field="owner")
    if not allows(owner, "vms.power"):
        raise InvalidValue("This user may not have VMs.", field="owner")
