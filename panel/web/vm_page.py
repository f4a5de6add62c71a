"""The pages of one VM: the head and tabs that all of them have, and the overview."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, wraps
from types import MappingProxyType
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.core import kinds, permissions
from panel.monitoring.statistics.selectors import traffic_of, warnings
from panel.notices.selectors import list_problems
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks, open_tasks_of
from panel.vms import snapshots, timeline
from panel.vms.machine import may_adopt
from panel.vms.models import ON, Vm, VmStatus
from panel.vms.selectors import get_vm, history
from panel.vms.usage import had
from panel.web import buttons, curves, differences
from panel.web.rendering import found_or_404, need, page, viewer_of

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
NO_MORE: Mapping[str, str] = MappingProxyType({})
UNDER = {"vm-serial": "vm-console"}
"""Pages that stand under the tab of another."""


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


@dataclass(frozen=True)
class Look:
    """Somebody's look at one of a VM's pages: the VM, and the task that is at work on it."""

    request: HttpRequest
    viewer: User
    vm: Vm
    task: Task | None

    @cached_property
    def buttons(self) -> buttons.Buttons:
        """What can be done with the VM now."""
        return buttons.at(self.viewer, self.vm, self.task, kind="vm", main=main_verbs(self.vm))

    def page(
        self, template: str, *, regions: Mapping[str, str] = NO_MORE, status: int = 200, **context: Any
    ) -> HttpResponse:
        """The page, with the head and the tabs that all of a VM's pages have."""
        match = self.request.resolver_match
        name = (match.url_name if match is not None else None) or ""
        route = UNDER.get(name, name)
        return page(
            self.request,
            template,
            regions={"head": "_vm_head.html", **regions},
            status=status,
            vm=self.vm,
            task=self.task,
            buttons=lambda: self.buttons,
            problems=list_problems(self.viewer).filter(object_type="vm", object_id=self.vm.pk),
            warnings=warnings(self.vm),
            tabs=[
                {"label": label, "address": reverse(name, args=[self.vm.pk]), "current": name == route}
                for name, label, right in TABS
                if permissions.allows(self.viewer, right)
            ],
            **context,
        )


def of_vm(right: str) -> Callable[[Callable[[Look], HttpResponse]], Callable[[HttpRequest, int], HttpResponse]]:
    """A view of one of a VM's pages, for who has the right; without it the page is as absent as another's VM."""

    def decorate(view: Callable[[Look], HttpResponse]) -> Callable[[HttpRequest, int], HttpResponse]:
        @login_required
        @wraps(view)
        def shown(request: HttpRequest, vm_id: int) -> HttpResponse:
            viewer = viewer_of(request)
            task = open_task("vm", vm_id)
            vm = found_or_404(get_vm, viewer, vm_id)
            need(viewer, right)
            kinds.get("vm").gather([vm])
            return view(Look(request, viewer, vm, task))

        return shown

    return decorate


@of_vm("vms.view")
def vm_page(look: Look) -> HttpResponse:
    """The overview of one VM."""
    viewer, vm = look.viewer, look.vm
    start = max(timezone.now() - TIMELINE, vm.created_at)
    manages = permissions.allows(viewer, "cluster.manage")
    return look.page(
        "vm.html",
        regions={"overview": "_vm_overview.html"},
        copies=vm.sightings.select_related("node") if manages else (),
        traffic=lambda: traffic_of(vm)[:MONTHS],
        statistics=curves.Card(f"/api/v1/vms/{vm.pk}/statistics", vm.vcpus),
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
        may_see_screen=permissions.allows(viewer, "vms.console"),
        is_on=vm.status in ON,
        now={field: had(vm, field) for field in ("vcpus", "memory_mib")},
        adoptable=may_adopt(vm.drift),
    )
