"""`task`: what the panel is doing, and has done."""

from __future__ import annotations

from collections.abc import Mapping

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Cell, Rows, Translated
from panel.mgrapi.functions.lists import listed
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks

FILTERS = {"id": "pk", "name": "operation", "status": "status", "user": "owner__name"}


def _row(task: Task, redaction: Redaction) -> Mapping[str, Cell]:
    return {
        "id": task.pk,
        "name": task.operation,
        "title": redaction.shown(task.worded_title),
        "object": task.object_name,
        "objectid": task.object_id,
        "user": task.owner.name if task.owner else "",
        "status": Translated(task.status, task.get_status_display()),
        "progress": f"{task.progress:.0%}",
        "created": task.created_at.isoformat(timespec="seconds"),
        "errmsg": redaction.stored_error(task.error)["message"] if task.error else None,
    }


def task(viewer: User, call: Call) -> Rows:
    """The tasks about the viewer's objects, the newest first."""
    redaction = Redaction(viewer)
    return listed(call, list_tasks(viewer), lambda each: _row(each, redaction), FILTERS)


FUNCTIONS = {"task": task}
