"""Who brought about what vmwatch says of a VM: the task that held the VM at that time, or something outside the panel.

The rule: what happened between the start of a task about the VM and its end is the task's, unless the task's
operation never changes whether a VM runs (QUIET). An event is on its way a little while, so it is a moment more, unless
the node's own clock says that it happened after the last that the task read of the VM. Tasks hold their VM alone, so
only what somebody does with virsh in that very time is taken for the task's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from panel.tasks.models import OPEN, Status, Task
from panel.vms.models import Cause, Vm, VmStatus

ON_ITS_WAY = timedelta(seconds=1)
"""How much later than it happened an event may seem to have happened: the time that its message took."""
QUIET = frozenset(
    (
        *("vm.change-owner", "vm.autostart", "vm.rename", "vm.configure", "vm.configure-guest", "vm.adopt"),
        *("vm.add-disk", "vm.grow-disk", "vm.remove-disk", "vm.change-disk", "vm.mount-iso", "vm.eject-iso"),
        *("vm.add-interface", "vm.remove-interface", "vm.change-interface"),
        *("vm.add-address", "vm.remove-address"),
    )
)
"""Operations on a VM after which it runs, or is off, as before."""

Tasks = Mapping[int, Sequence[Task]]


def tasks_since(since: datetime, vm_ids: Sequence[int]) -> Tasks:
    """The tasks that were at work on each of the VMs at some time since then, by the VM's id, the newest first."""
    ended = Q(finished_at__gte=since - ON_ITS_WAY)
    tasks = Task.objects.filter(Q(status__in=OPEN, finished_at=None) | ended, object_type="vm", object_id__in=vm_ids)
    found: dict[int, list[Task]] = {}
    for task in tasks.exclude(status=Status.QUEUED).exclude(operation__in=QUIET).order_by("-started_at", "-pk"):
        found.setdefault(task.object_id or 0, []).append(task)
    return found


def task_at(at: datetime, tasks: Iterable[Task], on_its_way: timedelta = ON_ITS_WAY) -> Task | None:
    """The one of a VM's tasks that held it then, or had let it go no longer before than `on_its_way`; None for none."""
    begun = [task for task in tasks if (task.started_at or task.created_at) <= at]
    for moment in (timedelta(0), on_its_way):
        for task in begun:
            if task.finished_at is None or at <= task.finished_at + moment:
                return task
    return None


def cause_of(vm: Vm, task: Task | None) -> str:
    """The word for it, of a VM as it was known before."""
    if task is not None:
        return Cause.TASK
    # Nothing happened to a VM whose status was just not known.
    return Cause.VMWATCH if vm.status == VmStatus.UNKNOWN else Cause.OUTSIDE
