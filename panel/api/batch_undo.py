"""What becomes of an atomic batch after it was accepted: when one of its tasks fails, the others do not stand either.

As far as operations can: a task that is not ended is cancelled and undoes itself; what a finished task had created is
removed by the operation that removes such objects; any other finished task stays, which the batch then says.
"""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils import timezone

from panel.api.models import Batch, BatchCall, BatchState, Undo
from panel.core import kinds
from panel.core.errors import PanelError, WrongState
from panel.tasks import registry, services
from panel.tasks.models import ENDED, Status, Task

log = logging.getLogger(__name__)
AT_ONCE = 50


def settle() -> None:
    """Look after every batch that has not ended; in each worker's sweep."""
    waiting = Batch.objects.filter(state__in=(BatchState.OPEN, BatchState.UNDOING)).order_by("pk")
    for pk in list(waiting.values_list("pk", flat=True)[:AT_ONCE]):
        with transaction.atomic():
            batch = Batch.objects.select_for_update(skip_locked=True).filter(pk=pk).first()
            if batch is not None:
                _settle(batch)


def _settle(batch: Batch) -> None:
    calls = [call for call in batch.calls.all() if call.task_id]
    tasks = Task.objects.in_bulk([each for call in calls for each in (call.task_id, call.undo_task_id) if each])
    # A task that is no more ended long ago.
    found = [(call, task) for call in calls if (task := tasks.get(call.task_id or 0)) is not None]
    failed = [task for _call, task in found if task.status in ENDED and task.status != Status.DONE]
    if batch.state == BatchState.OPEN and failed:
        log.warning("batch %s: task %s failed, the others are undone", batch.pk, failed[0].pk)
        batch.state = BatchState.UNDOING
    if batch.state == BatchState.UNDOING:
        # The last first: what was built on another goes before it.
        for call, task in reversed(found):
            _undo(batch, call, task)
    undoing = [tasks[call.undo_task_id] for call in calls if call.undo_task_id in tasks]
    ended = all(task.status in ENDED for task in [*(task for _call, task in found), *undoing])
    if ended and batch.state == BatchState.OPEN:
        batch.state, batch.finished_at = BatchState.DONE, timezone.now()
    elif ended and all(call.undo or task in failed for call, task in found):
        batch.state, batch.finished_at = BatchState.FAILED, timezone.now()
    batch.save(update_fields=["state", "finished_at"])


def _undo(batch: Batch, call: BatchCall, task: Task) -> None:
    """Have the call's effect gone, or say that it stays; once, but for a task that ended before it was cancelled."""
    if task.status == Status.DONE and call.undo in (Undo.NONE, Undo.CANCELLED):
        _remove(batch, call, task)
    elif task.status not in ENDED and not call.undo:
        try:
            services.cancel(task, batch.user)
            call.undo = Undo.CANCELLED
        except WrongState:
            # It undoes itself already, or can only go forward; then it is looked at again when it has ended.
            return
    else:
        return
    call.save(update_fields=["undo", "undo_task_id"])


def _remove(batch: Batch, call: BatchCall, task: Task) -> None:
    call.undo = Undo.STAYS
    operation = registry.find(task.operation)
    kind = kinds.find(task.object_type)
    if operation is None or not operation.creates or kind is None or not kind.remove or task.object_id is None:
        return
    try:
        with transaction.atomic():
            made = registry.get(kind.remove).submit(
                batch.user,
                {},
                object_id=task.object_id,
                idempotency_key=f"batch:{batch.pk}:{call.position}",
                queue=True,
            )
    except PanelError as error:
        log.warning("batch %s: what task %s made stays: %s", batch.pk, task.pk, error)
    else:
        call.undo, call.undo_task_id = Undo.REMOVED, made.pk
