"""What a person may do to a task: cancel it, or have a stuck one undone again."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import WrongState
from panel.tasks import live, registry
from panel.tasks.models import Status, StepStatus, Task, TaskLog, TaskStep
from panel.tasks.worker import enqueue


def cancel(task: Task, by: User) -> Task:
    """Ask for the task's end; its worker turns back at the next moment it can.

    Raises WrongState when the task is ended, goes back already, or cannot be cancelled.
    """
    permissions.require(by, "tasks.cancel")
    return _ask_for_end(task, by)


def _ask_for_end(task: Task, by: User) -> Task:
    with transaction.atomic():
        task = Task.objects.select_for_update().get(pk=task.pk)
        if not task.is_open or task.undoing:
            raise WrongState(object="task", id=task.pk, state="undoing" if task.undoing else task.status)
        if not registry.get(task.operation).cancellable and task.status != Status.QUEUED:
            raise WrongState("This operation cannot be cancelled once it has begun.", object="task", id=task.pk)
        task.cancel_requested_by = by.name
        # A task that waits, for a retry or behind another, need not wait to be cancelled.
        task.next_run_at = timezone.now()
        task.save(update_fields=["cancel_requested_by", "next_run_at"])
        transaction.on_commit(lambda: enqueue(task.pk))
    return task


def give_way(superseded: list[Task], to: Task, by: User) -> None:
    """Cancel the tasks that `to` supersedes; one that has ended meanwhile needs none, and `to` waits for the others.

    Whoever may ask for `to` may have them give way to it, with the right to cancel tasks or without.
    """
    for task in superseded:
        try:
            _ask_for_end(task, by)
        except WrongState:
            continue
        TaskLog.objects.create(task=task, level="warning", text=f"Gives way to task {to.pk} ({to.title}).")


def retry_undo(task: Task, by: User) -> Task:
    """Have a stuck task go on from the step that failed, back or (once it committed) to its end.

    Raises WrongState for any other task.
    """
    permissions.require(by, "tasks.manage")
    with transaction.atomic():
        task = Task.objects.select_for_update().get(pk=task.pk)
        if task.status != Status.STUCK:
            raise WrongState(object="task", id=task.pk, state=task.status)
        TaskStep.objects.filter(task=task, status=StepStatus.UNDOING).update(status=StepStatus.FAILED)
        task.status, task.next_run_at, task.finished_at = Status.RETRYING, timezone.now(), None
        task.save(update_fields=["status", "next_run_at", "finished_at"])
        transaction.on_commit(lambda: live.task_changed(task))
        transaction.on_commit(lambda: enqueue(task.pk))
    return task
