"""Guests that power themselves off or reboot move an installation on: its installer has come to its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from panel.accounts.system import system_user
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Installation, InstallStage, Vm, Wanted
from vmwatch import wire

log = logging.getLogger(__name__)

GUEST_ENDED = ("stopped:shutdown", "rebooted")
"""What libvirt says when the guest itself ended or began anew; a forced stop is "stopped:destroyed"."""
ASKING = ("vm.stop", "vm.restart", "vm.rescue")
"""Operations that ask the guest to shut down."""
MOST_AT_A_TIME = 100


def move_on(happened: Iterable[tuple[Vm, wire.DomainState, datetime]]) -> None:
    """Note the installations whose guests ended them, and have the installed systems started."""
    ended = {vm.pk: at for vm, domain, at in happened if domain.detail in GUEST_ENDED}
    if not ended:
        return
    # One that was asked to stop or restart has obeyed: its installer may be anywhere.
    asked = {pk for pk, task in open_tasks_of("vm", list(ended)).items() if task.operation in ASKING}
    waiting = Installation.objects.filter(vm__in=ended.keys() - asked, stage=InstallStage.INSTALLING)
    # A suspended one is shut down by the panel too, and stays wanted as it was.
    for installation in waiting.filter(vm__wanted=Wanted.RUNNING, vm__suspended_at=None):
        installation.stage, installation.guest_ended_at = InstallStage.FINISHING, ended[installation.vm_id]
        installation.save(update_fields=["stage", "guest_ended_at"])
        transaction.on_commit(finish_installations)


def finish_installations() -> None:
    """Ask for the end of every installation whose guest is done; one that a task holds is left for the next time."""
    waiting = list(
        Installation.objects.filter(stage=InstallStage.FINISHING).order_by("pk").values_list("vm_id", flat=True)
    )[:MOST_AT_A_TIME]
    if not waiting:
        return
    held = open_tasks_of("vm", waiting)
    for vm_id in waiting:
        if vm_id in held:
            continue
        try:
            registry.get("vm.finish-install").submit(system_user(), {}, object_id=vm_id)
        except PanelError as error:
            log.info("the installation of VM %s is not ended now: %s", vm_id, error)
