"""What somebody has under way on a VM's node by hand, beside which libvirt changes little.

It is a backup, a copy of a disk or a migration.

vmwatch's full reports tell of it, so it is known when an operation is asked for; what began since then is looked for
when the operation's turn comes, before its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from nodeagent.protocol import host
from panel.cluster.nodes import Agent
from panel.core.errors import NodeError, WrongState
from panel.tasks.models import Task
from panel.vms import saved
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus

DISKS = frozenset(
    {
        *("vm.snapshot", "vm.revert-snapshot", "vm.delete-snapshot", "vm.adopt-snapshot"),
        *("vm.grow-disk", "vm.remove-disk", "vm.change-disk", "vm.migrate", "vm.clone"),
        *("vm.reinstall", "vm.rescue", "vm.end-rescue"),
    }
)
"""Operations that libvirt refuses while a VM's disks are copied, or that would break that off."""
ALL = DISKS | {
    *("vm.stop", "vm.restart", "vm.reset", "vm.resume", "vm.configure"),
    *("vm.add-disk", "vm.mount-iso", "vm.eject-iso", "vm.add-interface", "vm.remove-interface", "vm.change-interface"),
    *("vm.add-address", "vm.remove-address"),
}
"""While it is on its way to another node, libvirt lets it be paused or forced off, and no more."""
HELD_UP = {host.BACKUP: DISKS, host.BLOCK_JOB: DISKS, host.MIGRATION: ALL}
MAKE_JOBS = ("vm.clone", "vm.migrate")
GATHERED = "_job_was_ours"
FRESH = timedelta(minutes=1)
"""An older word of a VM is none of what is under way with it now."""
WORDS = {
    host.BACKUP: (
        "Somebody makes a backup of the VM on its node just now (virsh backup-begin). Wait for its end, which "
        "“virsh domjobinfo {name}” tells there, or end it with “virsh domjobabort {name}”, and ask again."
    ),
    host.MIGRATION: (
        "Somebody moves the VM to another node just now (virsh migrate). Wait for its end, which “virsh domjobinfo "
        "{name}” tells on its node, or end it with “virsh domjobabort {name}”, and ask again."
    ),
    host.BLOCK_JOB: (
        "Somebody copies a disk of the VM on its node just now (virsh blockcopy, blockcommit). Wait for its end, which "
        "“virsh blockjob {name} DISK” tells there, or end it with “virsh blockjob {name} DISK --abort”, and ask again."
    ),
}


def refuse(operation: str, vm: Vm) -> None:
    """Raise WrongState for what the VM is known to have: a saved memory, or something that is under way by hand."""
    saved.refuse_saved(operation, vm)
    since = timezone.now() - FRESH
    if not vm.observed_job or vm.observed_at is None or vm.observed_at < since:
        return
    if operation in HELD_UP[vm.observed_job] and not _was_ours(vm):
        _refuse(operation, vm, vm.observed_job)


def gather(vms: Sequence[Vm]) -> None:
    """Have refuse() of these VMs ask nothing (gathering.py); one query."""
    ids = {vm.pk for vm in vms if GATHERED not in vm.__dict__}
    ours = set(_ended().filter(object_id__in=ids).values_list("object_id", flat=True)) if ids else set()
    for vm in vms:
        vm.__dict__.setdefault(GATHERED, vm.pk in ours)


def _was_ours(vm: Vm) -> bool:
    """Whether a task had it under way: it may have been seen, and told of after the task's end."""
    known: bool | None = vm.__dict__.get(GATHERED)
    return _ended().filter(object_id=vm.pk).exists() if known is None else known


def _ended() -> QuerySet[Task]:
    since = timezone.now() - FRESH
    return Task.objects.filter(object_type="vm", finished_at__gte=since, operation__in=MAKE_JOBS)


def refuse_at_turn(operation: str, ctx: VmContext[Any], vm: Vm) -> None:
    """Raise WrongState for what the row of the VM that is asked about and its node, asked once, have of it now.

    A node that does not answer is the first step's matter: that one is tried again.
    """
    saved.refuse_saved(operation, vm)
    heeds_job = operation in ALL and vm.status != VmStatus.SHUT_OFF
    if not heeds_job and not saved.refuses(operation):
        return
    if vm.pk == ctx.task.object_id:
        ctx.vm = vm
    try:
        found = Agent(vm.node, ctx).call(host.HostInfo(uuid=str(vm.uuid)))
    except NodeError:
        return
    saved.refuse_found(operation, ctx, vm, found)
    if heeds_job:
        _refuse(operation, vm, found.job)


def _refuse(operation: str, vm: Vm, job: str) -> None:
    if operation in HELD_UP.get(job, ()):
        state = {host.BACKUP: "with a backup under way", host.MIGRATION: "on its way by hand"}.get(job, f"with a {job}")
        raise WrongState(WORDS[job].format(name=vm.name), object="vm", id=vm.pk, state=state, field="id")
