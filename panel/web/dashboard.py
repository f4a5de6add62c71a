"""The first page: what there is, how it is, and what happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, F
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from panel.accounts.limits import limits_of
from panel.accounts.models import User
from panel.cluster.selectors import list_nodes
from panel.notices.selectors import list_problems
from panel.tasks.models import OPEN, Status
from panel.tasks.selectors import list_tasks
from panel.vms.limits import used_by
from panel.vms.models import StatusChange
from panel.vms.selectors import list_vms
from panel.web import meters, words
from panel.web.meters import Meter
from panel.web.rendering import page, viewer_of

MOST = 8
"""Rows of each list."""
RECENT = timedelta(hours=1)
FAILED = timedelta(hours=24)
"""So long a task that failed stands here; the list of tasks has all."""


@login_required
def dashboard(request: HttpRequest) -> HttpResponse:
    """The dashboard."""
    viewer = viewer_of(request)
    counted = dict(list_vms(viewer).order_by().values_list("status").annotate(Count("pk")))
    tasks = list_tasks(viewer)
    failed = tasks.filter(status__in=(Status.FAILED, Status.STUCK), created_at__gt=timezone.now() - FAILED)
    return page(
        request,
        "dashboard.html",
        regions={"overview": "_dashboard.html"},
        statuses=[(name, label, counted[name]) for name, label in words.STATUSES.items() if name in counted],
        total=sum(counted.values()),
        running=tasks.filter(status__in=OPEN)[:MOST],
        failed=failed[:MOST],
        problems=list_problems(viewer).order_by(F("acknowledged_at").asc(nulls_first=True), "-pk")[:MOST],
        changes=_changes(viewer),
        nodes=_nodes(viewer) if viewer.sees_all else (),
        own=list_vms(viewer).order_by("name")[:MOST] if not viewer.sees_all else (),
        limits=_limits(viewer) if not viewer.sees_all else (),
    )


def _changes(viewer: User) -> list[StatusChange]:
    """The newest changes of VMs' statuses, of the last hour."""
    found = StatusChange.objects.filter(repeated=False).select_related("vm", "node").order_by("-pk")
    if not viewer.sees_all:
        found = found.filter(vm__owner=viewer)
    since = timezone.now() - RECENT
    # By their numbers, which an index has: those of an hour are the last ones.
    return [each for each in found[:MOST] if each.at > since]


def _nodes(viewer: User) -> list[dict[str, Any]]:
    """The first nodes, with what is left on each; the list of nodes has all."""
    return meters.rows_of(viewer, list(list_nodes(viewer).order_by("name")[:MOST]))


def _limits(viewer: User) -> list[dict[str, Any]]:
    """What the viewer has of what they may have."""
    used, limits = used_by(viewer), limits_of(viewer)
    names = {
        "vms": (_("Virtual machines"), ""),
        "vcpus": (_("CPUs"), ""),
        "memory_mib": (_("Memory"), _("MiB")),
        "disk_gib": (_("Disks"), _("GiB")),
        "addresses": (_("Addresses"), ""),
    }
    return [
        {
            "label": label,
            "unit": unit,
            "used": getattr(used, name),
            "limit": (limit := getattr(limits, name)),
            "meter": Meter(getattr(used, name), limit) if limit else None,
        }
        for name, (label, unit) in names.items()
    ]
