"""How the panel itself is: vmwatch and what the doctor found; and all that is known of one request."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.models import JournalEntry, User
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.core import kinds, permissions
from panel.monitoring.selectors import Watching, list_watched, watching
from panel.monitoring.silence import silent_after
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks, open_tasks_of
from panel.web import buttons
from panel.web.rendering import need, page, viewer_of

MOST_NODES = 500
MOST = 100
EXAMINE, CONFIGURE = "cluster.examine", "vmwatch.configure"


@login_required
def health(request: HttpRequest) -> HttpResponse:
    """How nodes are watched, and what the last examination of the cluster found."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    seen = watching()
    examined = list_tasks(viewer).filter(operation=EXAMINE, status="done").first()
    return page(
        request,
        "health.html",
        regions={"health": "_health.html"},
        watching=seen,
        nodes=[_watched(node, seen) for node in list_watched(viewer).order_by("name")[:MOST_NODES]],
        examined=examined,
        findings=Redaction(viewer).result(examined.result.get("findings", [])[:MOST]) if examined is not None else (),
        offered=[each for each in (_button(viewer, EXAMINE), _button(viewer, CONFIGURE)) if each is not None],
    )


def _watched(node: Node, seen: Watching) -> dict[str, Any]:
    watch = getattr(node, "watch", None)
    heard_at = watch.heard_at if watch is not None else None
    return {
        "node": node,
        "heard_at": heard_at,
        "silent": heard_at is None or timezone.now() - heard_at > silent_after(),
        "has_keys": watch is not None and bool(watch.keys_digest) and watch.keys_digest == seen.digest,
    }


def _button(viewer: User, name: str) -> buttons.Button | None:
    operation = registry.get(name)
    if not permissions.allows_operation(viewer, operation.permission, operation.name):
        return None
    obj = kinds.get(operation.object_type).find(viewer, 1)
    return buttons.of(operation, obj, open_tasks_of(operation.object_type, [obj.pk]).get(obj.pk)) if obj else None


@login_required
def trace(request: HttpRequest, request_id: str) -> HttpResponse:
    """All that is known of a request by its id: its tasks with their steps, and what the journal has of it."""
    viewer = viewer_of(request)
    tasks: Iterable[Task] = ()
    entries: Iterable[JournalEntry] = ()
    if permissions.allows(viewer, "tasks.view"):
        tasks = list_tasks(viewer).filter(request_id=request_id).prefetch_related("steps")[:MOST]
    if permissions.allows(viewer, "journal.view") or permissions.allows(viewer, "journal.own"):
        entries = journal.list_entries(viewer).filter(request_id=request_id)[:MOST]
    tasks = list(tasks)
    return page(
        request,
        "trace.html",
        regions={"trace": "_trace.html"},
        request_id=request_id,
        tasks=tasks,
        commands=_commands(tasks) if permissions.allows(viewer, "cluster.view") else None,
        entries=list(entries),
    )


def _commands(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """What the tasks' steps had nodes do, in its order."""
    found = [
        {**command, "at": datetime.fromisoformat(command["at"]), "step": step, "task": task}
        for task in tasks
        for step in task.steps.all()
        for command in step.commands or ()
    ]
    return sorted(found, key=lambda each: each["at"])
