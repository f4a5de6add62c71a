"""A suspended VM that runs nevertheless, after virsh or a guest of a node that was away, is forced off."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from panel.accounts.system import system_user
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Vm, VmStatus

log = logging.getLogger(__name__)

OPERATION = "vm.keep-off"
ACTIVE = (VmStatus.RUNNING, VmStatus.PAUSED)
MOST_AT_A_TIME = 100
AGAIN_AFTER = timedelta(seconds=60)
"""How long a VM that could not be forced off is left alone."""


def look_at(vms: Iterable[Vm]) -> None:
    """Have those of the observed VMs forced off that must not run; call within the observation's transaction."""
    if any(vm.suspended and vm.status in ACTIVE for vm in vms):
        transaction.on_commit(keep_off)


def keep_off() -> None:
    """Ask for every suspended VM that runs to be forced off; one that a task holds is left for the next time."""
    running = Vm.objects.filter(suspended_at__isnull=False, status__in=ACTIVE).order_by("pk")
    found = list(running.values_list("pk", flat=True)[:MOST_AT_A_TIME])
    if not found:
        return
    held = set(open_tasks_of("vm", found))
    tried = Task.objects.filter(operation=OPERATION, object_id__in=found, finished_at__gt=timezone.now() - AGAIN_AFTER)
    held |= {task_of for task_of in tried.exclude(status=Status.DONE).values_list("object_id", flat=True) if task_of}
    for vm_id in found:
        if vm_id in held:
            continue
        try:
            registry.get(OPERATION).submit(system_user(), {}, object_id=vm_id)
        except PanelError as error:
            log.info("the suspended VM %s is not forced off now: %s", vm_id, error)
