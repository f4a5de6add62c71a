"""The list of tasks, and the page of one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.accounts.selectors import list_users
from panel.core import kinds, wording
from panel.tasks import registry
from panel.tasks.models import OPEN, Task
from panel.tasks.selectors import get_task, list_tasks
from panel.web import words
from panel.web.listing import Choices, Column, Filter, Listing, show
from panel.web.rendering import found_or_404, page, viewer_of

MOST_LINES = 500
"""Of a task's log, the last ones."""
MOST_OWNERS = 500
"""That can be chosen; who has more of them searches."""
NOT_ENDED = "open"


def _statuses(viewer: User) -> Choices:
    return [(NOT_ENDED, _("Not ended")), *words.TASK_STATUSES.items()]


def _of_status(found: QuerySet[Task], value: str) -> QuerySet[Task]:
    return found.filter(status__in=OPEN if value == NOT_ENDED else (value,))


def _kinds(viewer: User) -> Choices:
    names = {each.object_type for each in registry.every() if viewer.sees_all or kinds.get(each.object_type).owned}
    return [(name, words.kind(name)) for name in sorted(names)]


def _owners(viewer: User) -> Choices:
    if not viewer.sees_all:
        return []
    names = list_users(viewer).order_by("name").values_list("name", flat=True)[:MOST_OWNERS]
    return [(name, name) for name in names]


def _search(found: QuerySet[Task], text: str) -> QuerySet[Task]:
    """By its number, a part of the object's name, the request id, or a part of what the operation is called."""
    called = [each.name for each in registry.every() if text.lower() in wording.translated(each.label).lower()]
    asked = Q(object_name__icontains=text) | Q(request_id=text) | Q(operation__in=[*called, text])
    return found.filter(asked | Q(pk=int(text)) if text.isdecimal() else asked)


LISTING = Listing(
    name="tasks",
    title=_("Tasks"),
    rows=list_tasks,
    row="_task_row.html",
    topics="task",
    columns=(
        Column("id", _("Number"), "id", lambda task: task.pk, usual=False),
        Column("title", _("Task"), "operation", lambda task: task.worded_title.shown(nodes=False), card="card-head"),
        Column("status", _("Status"), "status", lambda task: task.status, card="card-side"),
        Column("progress", _("Progress"), text=lambda task: f"{100 * task.progress:.0f} %", card="card-end"),
        Column("object", _("Object"), "object_name", lambda task: task.object_name, card="card-line"),
        Column(
            "owner", _("Owner"), "owner__name", lambda task: task.owner.name if task.owner else "", card="card-line"
        ),
        Column("created", _("Asked for"), "created_at", lambda task: task.created_at.isoformat(), card="card-line"),
        Column("took", _("Duration"), text=lambda task: words.took(task.started_at, task.finished_at)),
        Column("request", _("Request id"), text=lambda task: task.request_id, usual=False),
    ),
    filters=(
        Filter("status", _("Status"), _statuses, apply=_of_status),
        Filter("kind", _("Kind of object"), _kinds, "object_type"),
        Filter("owner", _("Owner"), _owners, "owner__name"),
    ),
    search=_search,
    empty=_("No task yet."),
)


@login_required
def task_list(request: HttpRequest) -> HttpResponseBase:
    """The tasks, the newest first."""
    return show(request, LISTING)


@login_required
def task_page(request: HttpRequest, task_id: int) -> HttpResponse:
    """One task: its steps as they go, its log, and who asked for it when."""
    task = found_or_404(get_task, viewer_of(request), task_id)
    lines = task.log.order_by("-pk")[:MOST_LINES]
    context: dict[str, Any] = {"task": task, "lines": lambda: reversed(lines)}
    return page(request, "task.html", regions={"task": "_task.html"}, **context)
