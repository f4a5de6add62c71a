"""The first page: what there is, how it is, and what happens."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpRequest, HttpResponse

from panel.notices.selectors import list_problems
from panel.tasks.models import OPEN, Status
from panel.tasks.selectors import list_tasks
from panel.vms.selectors import list_vms
from panel.web import words
from panel.web.rendering import page, viewer_of

MOST = 8
"""Rows of each list."""


@login_required
def dashboard(request: HttpRequest) -> HttpResponse:
    """The dashboard."""
    viewer = viewer_of(request)
    counted = dict(list_vms(viewer).order_by().values_list("status").annotate(Count("pk")))
    tasks = list_tasks(viewer)
    return page(
        request,
        "dashboard.html",
        regions={"overview": "_dashboard.html"},
        statuses=[(name, label, counted[name]) for name, label in words.STATUSES.items() if name in counted],
        total=sum(counted.values()),
        running=tasks.filter(status__in=OPEN)[:MOST],
        failed=tasks.filter(status__in=(Status.FAILED, Status.STUCK))[:MOST],
        problems=list_problems(viewer)[:MOST],
    )
