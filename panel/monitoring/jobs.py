"""What full reports tell that is under way with VMs on their nodes by hand: backups, migrations, copies of disks."""

from __future__ import annotations

from collections.abc import Mapping

from panel.tasks.models import TaskLock
from panel.vms.models import Vm
from vmwatch import wire


def note(vms: Mapping[str, Vm], domains: Mapping[str, wire.DomainState]) -> None:
    """Note it of a node's VMs, by their UUIDs; what a task has under way is no hand's. Two queries where it changed."""
    told = {uuid: domain.job for uuid, domain in domains.items() if domain.job in wire.JOBS}
    held = set()
    if told:
        locks = TaskLock.objects.filter(kind="vm", object_id__in=[vms[uuid].pk for uuid in told])
        held = set(locks.values_list("object_id", flat=True))
    changed: dict[str, list[int]] = {}
    for uuid, vm in vms.items():
        job = "" if vm.pk in held else told.get(uuid, "")
        if vm.observed_job != job:
            vm.observed_job = job
            changed.setdefault(job, []).append(vm.pk)
    for job, pks in changed.items():
        Vm.objects.filter(pk__in=pks).update(observed_job=job)
