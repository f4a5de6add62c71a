"""What open pages, event streams and webhooks are told of tasks."""

from __future__ import annotations

import json
from typing import Any

from panel.core import live
from panel.tasks.models import ENDED, Status, Task, TaskStep

LONGEST_RESULT = 16_000
"""Characters of a result that an event bears; a longer one is read at /tasks/ID."""


def task_changed(task: Task, step: TaskStep | None = None) -> None:
    """Tell of a task's (and a step's) state; call after commit."""
    payload = told(task)
    if step is not None:
        # What happens in a step is now.
        payload.pop("at", None)
        payload["step"] = {
            "position": step.position,
            "status": step.status,
            "progress": round(step.progress, 3),
            "text": step.progress_text,
            "text_said": step.progress_said,
        }
    live.publish("task", payload)


def told(task: Task) -> dict[str, Any]:
    """The task as an event has it, under the names that REST has; of one that has ended also what came of it.

    What is a sentence has its Text beside it: Redaction.event() makes it for whom the event is told.
    """
    payload: dict[str, Any] = {
        "id": task.pk,
        "operation": task.operation,
        "status": task.status,
        "undoing": task.undoing,
        "progress": round(task.progress, 3),
        "title": task.title,
        "title_said": task.title_said,
        "object_type": task.object_type,
        "object_id": task.object_id,
        "object_name": task.object_name,
        "owner": task.owner_id,
        "request_id": task.request_id,
    }
    at = {Status.QUEUED: task.created_at, **dict.fromkeys(ENDED, task.finished_at)}.get(Status(task.status))
    if at is not None:
        payload["at"] = at
    if task.status in ENDED:
        fits = len(json.dumps(task.result, default=str)) <= LONGEST_RESULT
        payload |= {"result": task.result if fits else None, "error": task.error}
    return payload
