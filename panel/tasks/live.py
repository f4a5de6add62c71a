"""What open pages are told of tasks."""

from __future__ import annotations

from panel.core import live
from panel.tasks.models import Task, TaskStep


def task_changed(task: Task, step: TaskStep | None = None) -> None:
    """Tell pages of a task's (and a step's) state; call after commit."""
    payload = {
        "id": task.pk,
        "status": task.status,
        "undoing": task.undoing,
        "progress": round(task.progress, 3),
        "title": task.title,
        "object_type": task.object_type,
        "object_id": task.object_id,
        "owner": task.owner_id,
    }
    if step is not None:
        payload["step"] = {
            "position": step.position,
            "status": step.status,
            "progress": round(step.progress, 3),
            "text": step.progress_text,
        }
    live.publish("task", payload)
