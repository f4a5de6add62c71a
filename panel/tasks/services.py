"""What a person may do to a task: cancel it, have a stuck one undone again, or give one up."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import OperationFailed, WrongState
from panel.core.wording import Text
from panel.notices.services import close_problem
from panel.tasks import live, locks, logbook, registry, reservations
from panel.tasks.models import Status, StepStatus, Task, TaskSecret, TaskStep
from panel.tasks.queue import enqueue


def cancel(task: Task, by: User) -> Task:
    """Ask for the task's end; its worker turns back at the next moment it can.

    Raises WrongState when the task is ended, goes back already, or cannot be cancelled (any more).
    """
    permissions.require(by, "tasks.cancel")
    return _ask_for_end(task, by)


def may_cancel(task: Task) -> bool:
    """Whether the task could be cancelled now, so that a page offers it."""
    return _why_not(task) is None


def _why_not(task: Task) -> WrongState | None:
    if not task.is_open or task.undoing:
        return WrongState(object="task", id=task.pk, state="undoing" if task.undoing else task.status)
    text = None
    operation = registry.find(task.operation)
    committing = [step.name for step in operation.steps if step.commits] if operation else []
    if operation is None:
        text = "This release of the panel does not know the operation; its turn will say what can be done."
    elif operation.cancellable == "never":
        text = "This operation holds from when it was asked for, and cannot be cancelled."
    elif operation.cancellable == "queued" and task.status != Status.QUEUED:
        text = "This operation cannot be cancelled once it has begun."
    elif committing and any(row.status == StepStatus.DONE for row in task.steps.all() if row.name in committing):
        text = "This operation has gone too far to be cancelled; it goes on to its end."
    return WrongState(text, object="task", id=task.pk, state=task.status) if text else None


def _ask_for_end(task: Task, by: User) -> Task:
    with transaction.atomic():
        task = Task.objects.select_for_update().get(pk=task.pk)
        if refusal := _why_not(task):
            raise refusal
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
        text = Text("Gives way to task {task} ({operation}).", {"task": to.pk, "operation": to.worded_title})
        logbook.write(task.pk, text, level="warning")


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


def give_up_stuck(task: Task, by: User) -> Task:
    """End a stuck task as it is: nothing is undone, and its locks are let go of.

    Raises WrongState for any other task.
    """
    permissions.require(by, "tasks.manage")
    with transaction.atomic():
        task = Task.objects.select_for_update().get(pk=task.pk)
        if task.status != Status.STUCK:
            raise WrongState(object="task", id=task.pk, state=task.status)
        give_up(task.pk, Text("Given up by {by}. What it had done is left as it is.", {"by": by.name}))
    task.refresh_from_db()
    return task


def give_up(task_id: int, reason: str | Text) -> None:
    """End a task where it is, without undoing: for an end that must be possible whatever the task waits for.

    Call it in a transaction. A worker that is at it is shut out by the task's fence; a task that has ended is left.
    """
    task = Task.objects.select_for_update().get(pk=task_id)
    if not (task.is_open or task.status == Status.STUCK):
        return
    next_ids = locks.release(task)
    reservations.release(task)
    TaskSecret.objects.filter(task=task).delete()
    logbook.write(task.pk, reason, level="error")
    task.fence += 1
    task.status, task.error = Status.FAILED, OperationFailed(reason, step="").stored()
    task.lease_until, task.finished_at = None, timezone.now()
    task.save(update_fields=["fence", "status", "error", "lease_until", "finished_at"])
    close_problem(f"task:{task.pk}:stuck")
    transaction.on_commit(lambda: live.task_changed(task))
    for each in next_ids:
        transaction.on_commit(partial(enqueue, each))
