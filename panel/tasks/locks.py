"""Locks of tasks on objects, in MySQL.

A lock is a row. Rows of one object are only added while the object's anchor row is held FOR UPDATE,
and a task takes all its anchors, in one written order, before it adds its first row: so the ids of
lock rows give all tasks one order, and "nobody with a smaller id conflicts" is both the right to run
and a fair queue, with no deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from panel.core import kinds
from panel.core.errors import Busy
from panel.tasks.models import LockAnchor, Status, Task, TaskLock


@dataclass(frozen=True)
class LockSpec:
    """A lock that an operation needs on the object of `kind` that it is about."""

    kind: str
    exclusive: bool


def exclusive(kind: str) -> LockSpec:
    """Nobody else may hold the object."""
    return LockSpec(kind, True)


def shared(kind: str) -> LockSpec:
    """Others may hold it too, but not exclusively."""
    return LockSpec(kind, False)


def take(
    task: Task, wanted: Sequence[tuple[LockSpec, int | None]], *, queue: bool, supersedes: Collection[str] = ()
) -> list[Task]:
    """Add the task's locks; must run in the transaction that makes the task.

    Answers the tasks ahead of it whose operations it supersedes: they are to be cancelled, and it waits for their end.

    Raises Busy, naming another task that holds or waits for a conflicting lock, unless `queue`.
    """
    rows = _rows(task, wanted)
    for row in rows:
        hold(row.kind, row.object_id)
    superseded = {}
    for holder in _in_the_way(rows) if rows and (supersedes or not queue) else ():
        if holder.task.operation in supersedes:
            superseded[holder.task_id] = holder.task
        elif not queue:
            raise Busy(task=holder.task_id, operation=holder.task.operation, object=holder.kind, id=holder.object_id)
    # Their ids are in this order: one statement of several rows counts up.
    TaskLock.objects.bulk_create(rows)
    return list(superseded.values())


def planned(task: Task, wanted: Sequence[tuple[LockSpec, int | None]]) -> list[dict[str, Any]]:
    """The locks that take() would add, in their order, each with the task that it would wait for (or None)."""
    rows = _rows(task, wanted)
    in_the_way = {(each.kind, each.object_id): each.task_id for each in reversed(_in_the_way(rows))} if rows else {}
    return [
        {
            "kind": row.kind,
            "id": row.object_id,
            "exclusive": row.exclusive,
            "task": in_the_way.get((row.kind, row.object_id)),
        }
        for row in rows
    ]


def _rows(task: Task, wanted: Sequence[tuple[LockSpec, int | None]]) -> list[TaskLock]:
    """The task's locks in the written order, each once; not saved."""
    keys = sorted(
        {(_place_of(spec.kind), spec.kind, object_id, spec.exclusive) for spec, object_id in wanted if object_id}
    )
    return [
        TaskLock(task=task, kind=kind, object_id=object_id, exclusive=exclusive)
        for _order, kind, object_id, exclusive in keys
    ]


def _place_of(name: str) -> int:
    """Where in the written order a kind is; LookupError for one that is never locked is a programming error."""
    place = kinds.get(name).lock_order
    if place is None:
        raise LookupError(name)
    return place


def hold(kind: str, object_id: int) -> None:
    """Take an anchor until the transaction ends; it is made where there is none yet."""
    anchors = LockAnchor.objects.select_for_update().filter(kind=kind, object_id=object_id)
    if anchors.values_list("pk", flat=True).first() is None:
        LockAnchor.objects.bulk_create([LockAnchor(kind=kind, object_id=object_id)], ignore_conflicts=True)
        anchors.get()


def _in_the_way(rows: Sequence[TaskLock]) -> list[TaskLock]:
    """Others' locks that conflict with the rows, those of the first row first; one query."""
    wanted = Q()
    for row in rows:
        wanted |= _conflict(row)
    places = {(row.kind, row.object_id): place for place, row in enumerate(rows)}
    found = TaskLock.objects.filter(wanted).exclude(task_id=rows[0].task_id).select_related("task")
    return sorted(found, key=lambda each: (places[each.kind, each.object_id], each.pk))


def _conflict(row: TaskLock) -> Q:
    same = Q(kind=row.kind, object_id=row.object_id)
    return same if row.exclusive else same & Q(exclusive=True)


def _conflicting(row: TaskLock) -> QuerySet[TaskLock]:
    return TaskLock.objects.filter(_conflict(row)).exclude(task_id=row.task_id)


def blocker(task: Task) -> TaskLock | None:
    """The lock that keeps the task from running; None when it may run."""
    for row in task.locks.all():
        if ahead := _conflicting(row).filter(pk__lt=row.pk).order_by("pk").first():
            return ahead
    return None


def blocked_rows(task_id: Any) -> QuerySet[TaskLock]:
    """The locks of a task, by its id or an outer query's, that have a conflicting one ahead of them."""
    same = {"kind": OuterRef("kind"), "object_id": OuterRef("object_id"), "pk__lt": OuterRef("pk")}
    ahead = TaskLock.objects.filter(**same).exclude(task_id=OuterRef("task_id"))
    conflict = Q(exclusive=True) & Exists(ahead) | Exists(ahead.filter(exclusive=True))
    return TaskLock.objects.filter(conflict, task_id=task_id)


def release(task: Task) -> list[int]:
    """Drop the task's locks; answers the ids of queued tasks that may be able to run now."""
    keys = list(task.locks.values_list("kind", "object_id"))
    task.locks.all().delete()
    if not keys:
        return []
    same = Q()
    for kind, object_id in keys:
        same |= Q(kind=kind, object_id=object_id)
    waiting = TaskLock.objects.filter(same, task__status=Status.QUEUED).order_by(F("task_id"))
    return sorted(set(waiting.values_list("task_id", flat=True)))


def holders(kind: str, object_ids: Sequence[int]) -> dict[int, int]:
    """Which task holds each of the objects, by object id; those that nobody holds are left out."""
    rows = TaskLock.objects.filter(kind=kind, object_id__in=object_ids, exclusive=True).order_by("-pk")
    return dict(rows.values_list("object_id", "task_id"))
