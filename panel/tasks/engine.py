"""Carrying tasks out: claim, steps, retry, undo, end.

Everything that must survive a crash is in the database before the next thing begins. Each write is
guarded by the task's fence, so a worker that lost its lease (paused, cut off) can change nothing
more; nodes refuse it by the same number. Nothing here knows Celery (worker.py does) or what a step
does (operations do).
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from panel.core import request_id
from panel.core.errors import (
    Cancelled,
    Fenced,
    NodeUnreachable,
    NotUnderstood,
    OperationFailed,
    PanelError,
    Reschedule,
    UndoFailed,
)
from panel.core.wording import Text, for_row
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks import live, locks, logbook, queue, registry, reservations, shares, understanding
from panel.tasks.context import Context
from panel.tasks.declaration import Declaration, Step
from panel.tasks.lease import Lease
from panel.tasks.models import Status, StepStatus, Task, TaskSecret, TaskStep

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (1, 2, 4, 8, 15, 30)
UNDO_ATTEMPTS = 3
"""How often an undo that fails for a reason that time does not mend is tried before the task is stuck."""
MOST_ATTEMPTS = 30
"""How often a step is begun at most; one that ends its worker each time must not do so for ever."""
PROGRESS_INTERVAL = 0.5
"""Seconds between two writes of a running step's progress."""
PROGRESS = ("progress", "progress_text", "progress_said")


FAULT = "Step “{step}” broke: the panel met a fault of its own, which the worker's log names under task {task}."
"""What a task says of an exception that nobody foresaw: its name tells nothing to whom it happens."""

LOST_AT_STEP = "The worker {worker} was lost at step “{step}”; taken over by {successor}."
LOST_AT_END = "The worker {worker} was lost at its end; taken over by {successor}."
TRYING_AGAIN = "{error} Trying again in {seconds} s."
STUCK_UNDOING = "{title}: step “{step}” could not be undone: {cause}"
STUCK_FINISHING = "{title}: step “{step}” could not be finished: {cause}"
NOT_FINISHED = "Step “{step}” of task {task} could not be finished."
IN_VAIN = "Step “{step}” was begun {times} times in vain."


class Observer:
    """Is told of a task's way through the engine; the fault tests strike at these moments."""

    def before(self, task: Task, step: TaskStep) -> None:
        """A step or its undo is about to run."""

    def ran(self, task: Task, step: TaskStep) -> None:
        """A step or its undo has run; what it answered is not stored yet."""

    def stored(self, task: Task, step: TaskStep) -> None:
        """What a step or its undo answered is stored."""


class _Later(Exception):
    """The step shall be tried again at the task's next_run_at."""


class _Lost(Exception):
    """Another worker holds the task now, or will: leave without another word."""


def claim(task_id: int, owner: str) -> Task | None:
    """Take the task for this worker with a new fence; None when it is not to be run now.

    It is when it waits its turn with no lock ahead of it (or is to be cancelled there), is due for a
    retry, or when the lease of the worker that ran it is over; and not here, when it belongs to the
    panel's machine.
    """
    with transaction.atomic():
        ready = Q(status__in=(Status.QUEUED, Status.RETRYING), next_run_at__lte=Now())
        orphaned = Q(status__in=(Status.RUNNING, Status.UNDOING), lease_until__lt=Now())
        shares.take_turns(owner)
        task = Task.objects.select_for_update().filter(ready | orphaned, pk=task_id).first()
        if task is None or (task.status == Status.QUEUED and not task.cancel_requested_by and locks.blocker(task)):
            return None
        operation = registry.find(task.operation)
        if operation is not None and operation.at_panel and not settings.CONFIG.panel_here:
            # The sweep announces it until a worker on the panel's machine is the one that hears it.
            return None
        if not shares.may_begin(task, owner):
            return None
        if task.status in (Status.RUNNING, Status.UNDOING):
            _note_takeover(task, owner)
        Task.objects.filter(pk=task.pk).update(
            status=Status.UNDOING if task.undoing else Status.RUNNING,
            fence=F("fence") + 1,
            lease_owner=owner,
            lease_until=Now() + timedelta(seconds=settings.CONFIG.lease_seconds),
            started_at=task.started_at or timezone.now(),
        )
        task.refresh_from_db()
    return task


def _note_takeover(task: Task, owner: str) -> None:
    """The task's log says which worker was lost, where, and who goes on."""
    log.warning("task %s: taken over from %s, which is silent", task.pk, task.lease_owner)
    rows = list(task.steps.all())
    begun = [row for row in rows if row.status in (StepStatus.RUNNING, StepStatus.UNDOING)]
    waiting = (StepStatus.DONE, StepStatus.FAILED) if task.undoing else (StepStatus.PENDING,)
    # It may have died between two steps: then it is the one that was next.
    ahead = [row for row in (reversed(rows) if task.undoing else rows) if row.status in waiting]
    step = next(iter(begun + ahead), None)
    workers = {"worker": task.lease_owner, "successor": owner}
    text = Text(LOST_AT_END, workers)
    if step is not None:
        text = Text(LOST_AT_STEP, {**workers, "step": step.worded_title})
    logbook.write(task.pk, text, step=step.name if step else "", level="warning")


def run(task_id: int, owner: str, observer: Observer | None = None) -> Task | None:
    """Carry the task as far as it goes now: to an end, or to its next retry.

    Answers the task as left, None when it was not to be run or was lost to another worker.
    """
    settings.CONFIG.refresh()
    task = claim(task_id, owner)
    if task is None:
        return None
    token = request_id.bind(task.request_id)
    run = None
    try:
        with Lease(task) as lease:
            try:
                run = Run(task, lease, observer or Observer())
            except NotUnderstood as error:
                return _leave_to_person(task, error)
            return run.carry_on()
    except (_Lost, Fenced):
        log.warning("task %s: lost to another worker", task_id)
        return None
    finally:
        shares.let_go(task, node_silent=run.node_silent if run is not None else None)
        request_id.reset(token)


def _leave_to_person(task: Task, error: NotUnderstood) -> Task:
    """The task that another release made is stuck as it is, with its locks and secrets, and a problem says why."""
    log.error("task %s (%s): %s", task.pk, task.title, error)
    with transaction.atomic():
        if not Task.objects.select_for_update().filter(pk=task.pk, fence=task.fence).exists():
            raise _Lost
        logbook.write(task.pk, error.text, level="error")
        ended = {"status": Status.STUCK, "lease_until": None, "finished_at": timezone.now(), "error": error.stored()}
        Task.objects.filter(pk=task.pk).update(**ended)
        key, text = f"task:{task.pk}:stuck", Text("{title}: {cause}", {"title": task.worded_title, "cause": error.text})
        open_problem(key, text, severity=Severity.ALARM, object_type="task", object_id=task.pk)
    task.refresh_from_db()
    live.task_changed(task)
    return task


class Run:
    """One worker's hold on one task, from claim to letting go."""

    def __init__(self, task: Task, lease: Lease, observer: Observer) -> None:
        self.task = task
        self.observer = observer
        self.operation: Declaration[Any] = understanding.operation_of(task)
        self.rows = understanding.rows_of(self.operation, task)
        self.ctx = self._context(lease)
        self.last_report = 0.0
        self.node_silent: bool | None = None
        """Whether the node did not answer what it was asked for last; None: it was asked for nothing."""

    def _context(self, lease: Lease) -> Context[Any]:
        # Of a step whose undo was begun too: whoever takes that over must know what to undo.
        outputs = {name: row.output for name, row in self.rows.items() if row.output}
        ctx = self.operation.context(self.task, self.operation.params.model_construct(), outputs)
        ctx.params, ctx.step_names = self._params(), self.operation.step_names
        ctx.lost, ctx.cancelled = lease.lost, lease.cancelled
        return ctx

    def _params(self) -> Any:
        """The parameters, with their secrets while it has any."""
        return understanding.params_of(self.operation, self.task)

    def carry_on(self) -> Task:
        """Go through the steps, forwards or back, from where the task is."""
        self._announce()
        try:
            if not self.task.undoing:
                self._forwards()
            if self.task.undoing:
                self._backwards()
        except _Later:
            pass
        return self.task

    def _forwards(self) -> None:
        try:
            if self._is_first_turn():
                self.operation.refuse_now(self.ctx)
            for step in self.operation.steps:
                if self.rows[step.name].status == StepStatus.DONE:
                    self.ctx.committed |= step.commits
                else:
                    # Of what cannot be cancelled once it has begun, that was asked while it waited in the queue.
                    self.ctx.stop_if_asked()
                    self._do(step)
        except PanelError as error:
            if isinstance(error, Fenced):
                raise
            self._turn_back(error)
        else:
            self._end(Status.DONE)

    def _status_of(self, step: Step) -> str:
        return self.rows[step.name].status if step.name in self.rows else StepStatus.PENDING

    def _is_first_turn(self) -> bool:
        """Whether nothing was begun but what was done when the task was asked for."""
        return all(self._status_of(step) == StepStatus.PENDING for step in self.operation.steps if not step.inline)

    def _do(self, step: Step) -> None:
        row = self._begin(step, StepStatus.RUNNING)
        self.ctx.checkpoint = row.output
        try:
            if row.attempts > MOST_ATTEMPTS:
                raise OperationFailed(Text(IN_VAIN, {"step": row.worded_title, "times": MOST_ATTEMPTS}), step=row.name)
            self.observer.before(self.task, row)
            output = step.run(self.ctx) or {}
            self.node_silent = False
            self.observer.ran(self.task, row)
        except Reschedule as wait:
            self._put_aside(row, wait)
        except Exception as raised:
            error = _as_panel_error(raised, row)
            if error.retriable and not isinstance(error, Cancelled):
                self._retry(row, error, settings.CONFIG.retry_seconds)
            self._store(row, StepStatus.FAILED, error=error.stored())
            raise error from raised
        self.ctx.outputs[step.name] = output
        self.ctx.committed |= step.commits
        self._store(row, StepStatus.DONE, output=output, forget_secrets=step.ends_secrets)
        if step.ends_secrets:
            self.ctx.params = self._params()
        self.observer.stored(self.task, row)

    def _turn_back(self, error: PanelError) -> None:
        log.warning("task %s (%s): %s", self.task.pk, self.task.title, error)
        self.ctx.log(error.text, "error")
        if self.ctx.committed:
            self._stuck(self.rows[self.ctx.step_name], error)
        if self.operation.on_failure == "stop":
            self._end(Status.CANCELLED if isinstance(error, Cancelled) else Status.FAILED, error)
            return
        self._update_task(forget_secrets=True, undoing=True, status=Status.UNDOING, error=error.stored())
        self.ctx.params = self._params()

    def _backwards(self) -> None:
        # A task of an earlier release lacks the steps that it had not.
        begun = [step for step in self.operation.steps if self._status_of(step) != StepStatus.PENDING]
        self.ctx.failed_step = begun[-1].name if begun else ""
        for step in reversed(begun):
            if self._status_of(step) != StepStatus.UNDONE:
                self._undo(step)
        cancelled = (self.task.error or {}).get("code") == Cancelled.code
        self._end(Status.CANCELLED if cancelled else Status.FAILED)

    def _undo(self, step: Step) -> None:
        row = self._begin(step, StepStatus.UNDOING)
        try:
            self.observer.before(self.task, row)
            if step.undo is not None:
                step.undo(self.ctx)
            self.observer.ran(self.task, row)
        except Exception as raised:
            error = _as_panel_error(raised, row)
            if error.retriable or row.attempts < UNDO_ATTEMPTS:
                self._retry(row, error, settings.CONFIG.undo_retry_seconds)
            self._stuck(row, error)
        self._store(row, StepStatus.UNDONE)
        self.observer.stored(self.task, row)

    def _begin(self, step: Step, status: StepStatus) -> TaskStep:
        row = self.rows[step.name]
        if row.status != status:
            row.attempts, row.failing_since, row.started_at = 0, None, timezone.now()
        row.status, row.progress, row.progress_text, row.progress_said = status, 0.0, "", None
        row.attempts += 1
        self.ctx.step_name, self.ctx.commands = step.name, row.commands or []
        self.ctx._report = self._report
        self._save(row, "status", "attempts", "failing_since", "started_at", *PROGRESS)
        return row

    def _retry(self, row: TaskStep, error: PanelError, limit: float) -> None:
        """Put the task aside until later and leave; returns when it has been tried for `limit` seconds."""
        self.node_silent = isinstance(error, NodeUnreachable)
        now = timezone.now()
        since = row.failing_since or now
        if (now - since).total_seconds() >= limit:
            return
        wait = BACKOFF_SECONDS[min(row.attempts - 1, len(BACKOFF_SECONDS) - 1)]
        row.failing_since, row.error = since, error.stored()
        self.ctx.log(Text(TRYING_AGAIN, {"error": error.text, "seconds": wait}), "warning")
        self._save(row, "failing_since", "error")
        self._update_task(status=Status.RETRYING, lease_until=None, next_run_at=Now() + timedelta(seconds=wait))
        raise _Later

    def _put_aside(self, row: TaskStep, wait: Reschedule) -> None:
        """Let the worker go; the step is run again when its wait is over."""
        self.node_silent = False
        row.attempts -= 1
        # What failed before has not failed now: it would count from then on.
        row.output, row.failing_since, row.error = wait.checkpoint, None, None
        self._save(row, "attempts", "output", "failing_since", "error")
        later = Now() + timedelta(seconds=wait.seconds)
        self._update_task(status=Status.RETRYING, lease_until=None, next_run_at=later)
        queue.enqueue_later(self.task.pk, wait.seconds)
        raise _Later

    def _stuck(self, row: TaskStep, error: PanelError) -> None:
        """Leave the task, its locks and a problem to a person: what cannot be undone, or not be finished."""
        told_of = STUCK_UNDOING if self.task.undoing else STUCK_FINISHING
        final = UndoFailed(
            "" if self.task.undoing else Text(NOT_FINISHED, {"step": row.worded_title, "task": self.task.pk}),
            task=self.task.pk,
            step=row.title,
            node=str(error.data.get("node", "")),
            cause=error.message,
        )
        self.ctx.log(final.text, "error")
        self._store(row, StepStatus.FAILED, error=error.stored())
        told = self.task.error if self.task.undoing else error.stored()
        self._update_task(status=Status.STUCK, lease_until=None, finished_at=timezone.now(), error=told)
        open_problem(
            f"task:{self.task.pk}:stuck",
            Text(told_of, {"title": self.task.worded_title, "step": row.worded_title, "cause": error.text}),
            severity=Severity.ALARM,
            object_type="task",
            object_id=self.task.pk,
        )
        raise _Later

    def _store(
        self,
        row: TaskStep,
        status: StepStatus,
        output: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        forget_secrets: bool = False,
    ) -> None:
        row.status, row.finished_at, row.error, row.failing_since = status, timezone.now(), error, None
        if output is not None:
            row.output, row.progress = output, 1.0
        fields = ("status", "finished_at", "error", "failing_since", "output", "progress")
        self._save(row, *fields, forget_secrets=forget_secrets)

    def _save(self, row: TaskStep, *fields: str, forget_secrets: bool = False) -> None:
        """Write a step's fields if the task is still ours; raises _Lost when it is not."""
        self.task.progress = self._total_progress()
        row.commands = self.ctx.commands or None
        with transaction.atomic():
            self._guard()
            row.save(update_fields=(*fields, "commands"))
            if forget_secrets:
                TaskSecret.objects.filter(task=self.task).delete()
            Task.objects.filter(pk=self.task.pk).update(progress=self.task.progress)
        live.task_changed(self.task, row)

    def _update_task(self, *, forget_secrets: bool = False, **fields: Any) -> None:
        with transaction.atomic():
            self._guard()
            if forget_secrets:
                TaskSecret.objects.filter(task=self.task).delete()
            Task.objects.filter(pk=self.task.pk).update(**fields)
        self.task.refresh_from_db()
        self._announce()

    def _guard(self) -> None:
        held = Task.objects.select_for_update().filter(pk=self.task.pk, fence=self.task.fence)
        cancelled_by = held.values_list("cancel_requested_by", flat=True).first()
        if cancelled_by is None:
            raise _Lost
        if cancelled_by:
            # Sooner than the lease's thread, which looks every few seconds.
            self.task.cancel_requested_by = cancelled_by
            self.ctx.cancelled.set()

    def _end(self, status: Status, error: PanelError | None = None) -> None:
        with transaction.atomic():
            self._guard()
            next_ids = locks.release(self.task)
            reservations.release(self.task)
            TaskSecret.objects.filter(task=self.task).delete()
            changes: dict[str, Any] = {"status": status, "finished_at": timezone.now(), "lease_until": None}
            if status == Status.DONE:
                changes.update(progress=1.0, error=None, result=self._result())
            if error is not None:
                changes["error"] = error.stored()
            Task.objects.filter(pk=self.task.pk).update(**changes)
            close_problem(f"task:{self.task.pk}:stuck")
        self.task.refresh_from_db()
        self._announce()
        log.info("task %s (%s): %s", self.task.pk, self.task.title, status.label)
        for task_id in next_ids:
            queue.enqueue(task_id)

    def _result(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for step in self.operation.steps:
            result.update(self.ctx.outputs.get(step.name, {}).get("result", {}))
        return result

    def _report(self, fraction: float, text: str | Text) -> None:
        now = time.monotonic()
        if now - self.last_report < PROGRESS_INTERVAL:
            return
        self.last_report = now
        row = self.rows[self.ctx.step_name]
        english, row.progress_said = for_row(text)
        row.progress, row.progress_text = fraction, english[:200]
        self._save(row, *PROGRESS)

    def _total_progress(self) -> float:
        total = sum(row.weight for row in self.rows.values()) or 1
        return sum(row.weight * row.progress for row in self.rows.values()) / total

    def _announce(self) -> None:
        live.task_changed(self.task)


def _as_panel_error(raised: Exception, row: TaskStep) -> PanelError:
    """What a step raised, as one of ours; what only concerns the worker goes through as it is."""
    if isinstance(raised, (PanelError, _Lost)):
        if isinstance(raised, (Fenced, _Lost)):
            raise raised
        return raised
    if isinstance(raised, DatabaseError) and not isinstance(raised, IntegrityError | DataError):
        # The engine cannot write either; the lease runs out and another worker takes over.
        raise raised
    log.exception("step %s of task %s met a fault of the panel", row.name, row.task_id)
    return OperationFailed(Text(FAULT, {"step": row.worded_title, "task": row.task_id}), step=row.name)
