"""The pages of one VM: the head and tabs that all of them have, and the overview."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.core import permissions
from panel.monitoring.statistics.selectors import PERIODS, traffic, warnings
from panel.notices.selectors import list_problems
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks, open_tasks_of
from panel.vms import snapshots, timeline
from panel.vms.machine import may_adopt
from panel.vms.models import ON, Vm, VmStatus
from panel.vms.selectors import get_vm, history
from panel.web import buttons, curves, differences
from panel.web.rendering import found_or_404, page, viewer_of

TIMELINE = timedelta(hours=24)
"""How much of a VM's history its page shows as a line, unless the VM is younger."""
MONTHS = 3
"""Of how many months a VM's page shows the traffic."""
TASKS = 10
TABS = (
    ("vm", _("Overview"), "vms.view"),
    ("vm-console", _("Console"), "vms.console"),
    ("vm-devices", _("Devices"), "vms.devices"),
    ("vm-settings", _("Settings"), "vms.configure"),
    ("vm-guest", _("Guest"), "vms.change"),
)
"""The pages of a VM by their routes, with the right that each is of use with."""


def open_task(kind: str, object_id: int) -> Task | None:
    """The task that is at work on the object. Read before the object itself: a page without a task shows what it left.

    A page with one is read again when its events begin to arrive; one that missed the task's end would stay as it was.
    """
    return open_tasks_of(kind, [object_id]).get(object_id)


def main_verbs(vm: Vm) -> tuple[str, ...]:
    """What matters of a VM as it is now."""
    if vm.status in ON:
        return ("resume", "stop", "restart") if vm.status == VmStatus.PAUSED else ("stop", "restart")
    return ("end-rescue", "start", "unsuspend")


def head(request: HttpRequest, viewer: User, vm: Vm, task: Task | None) -> dict[str, Any]:
    """What the head and the tabs of all of a VM's pages need."""
    route = request.resolver_match.url_name if request.resolver_match is not None else ""
    return {
        "vm": vm,
        "task": task,
        "buttons": buttons.at(viewer, vm, task, kind="vm", main=main_verbs(vm)),
        "problems": list_problems(viewer).filter(object_type="vm", object_id=vm.pk),
        "warnings": warnings(vm),
        "tabs": [
            {"label": label, "address": reverse(name, args=[vm.pk]), "current": name == route}
            for name, label, right in TABS
            if permissions.allows(viewer, right)
        ],
    }


@login_required
def vm_page(request: HttpRequest, vm_id: int) -> HttpResponse:
    """The overview of one VM."""
    viewer = viewer_of(request)
    task = open_task("vm", vm_id)
    vm = found_or_404(get_vm, viewer, vm_id)
    start = max(timezone.now() - TIMELINE, vm.created_at)
    manages = permissions.allows(viewer, "cluster.manage")
    return page(
        request,
        "vm.html",
        regions={"head": "_vm_head.html", "overview": "_vm_overview.html"},
        **head(request, viewer, vm, task),
        copies=vm.sightings.select_related("node") if manages else (),
        traffic=traffic(viewer, vm.pk)[:MONTHS],
        periods=PERIODS,
        curve_words=curves.words(),
        timeline=lambda: timeline.of(vm, start, timezone.now()),
        timeline_start=start,
        snapshots=snapshots.tree(vm),
        no_revert=lambda: {
            kept: snapshots.why_no_revert(vm, with_memory=kept == "memory") for kept in ("disks", "memory")
        },
        unmanaged_snapshots=[(each, json.dumps({"name": each["name"]})) for each in vm.unmanaged_snapshots],
        may_snapshot=permissions.allows(viewer, "vms.snapshot"),
        may_power=permissions.allows(viewer, "vms.power"),
        history=lambda: history(vm),
        tasks=list_tasks(viewer).filter(object_type="vm", object_id=vm.pk)[:TASKS],
        pending=differences.table(vm.pending, "now", "then"),
        drift=differences.table(vm.drift, "node", "stored") if permissions.allows(viewer, "cluster.view") else (),
        adoptable=may_adopt(vm.drift),
    )
