"""Reading tasks, always for a viewer: a user sees the tasks about their own objects."""

from __future__ import annotations

from functools import cache

from django.db.models import Q, QuerySet

from panel.accounts.models import User
from panel.core import kinds, permissions
from panel.core.errors import NotFound
from panel.core.rows import Prepared
from panel.tasks import registry
from panel.tasks.models import ENDED, Task

LONGEST_NUMBER = 18
"""Digits of a task's number."""


def list_tasks(viewer: User) -> QuerySet[Task]:
    """The tasks that the viewer may see, newest first; raises AccessDenied (a scoped token)."""
    permissions.require(viewer, "tasks.view")
    tasks = Task.objects.select_related("owner")
    return tasks if viewer.sees_all else tasks.filter(owner=viewer)


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The task of that number, or those of that request."""
    if not permissions.allows(viewer, "tasks.view"):
        return []
    asked = Q(pk=int(text)) if text.isdecimal() and len(text) < LONGEST_NUMBER else Q(request_id=text)
    found = list_tasks(viewer).filter(asked).order_by("-pk")[: kinds.MOST_FOUND]
    return [(task.pk, task.worded_title.shown(nodes=viewer.sees_all), task.status) for task in found]


def get_task(viewer: User, task_id: int) -> Task:
    """One task with its steps; raises NotFound.

    Whoever may ask for it may follow it: a token that may start VMs, and no more, sees the starts that it asked for.
    """
    task = Task.objects.select_related("owner").prefetch_related("steps").filter(pk=task_id).first()
    theirs = task is not None and (viewer.sees_all or task.owner_id == viewer.pk)
    if not (task and theirs and task.created_by_id == viewer.pk and _may_ask_for(viewer, task)):
        permissions.require(viewer, "tasks.view")
    if task is None or not theirs:
        raise NotFound(object="task", id=task_id)
    return task


def _may_ask_for(viewer: User, task: Task) -> bool:
    known = [each for each in registry.every() if each.name == task.operation]
    return any(permissions.allows_operation(viewer, each.permission, each.name) for each in known)


def open_tasks_of(kind: str, object_ids: list[int]) -> dict[int, Task]:
    """The oldest task that is not ended of each object, by object id."""
    return {task.object_id: task for task in _open_tasks(kind).rows(object_ids) if task.object_id is not None}


@cache
def _open_tasks(kind: str) -> Prepared[Task]:
    tasks = Task.objects.filter(object_type=kind).exclude(status__in=ENDED).order_by("-pk")
    return Prepared(lambda ids: tasks.filter(object_id__in=ids), [-1])
