"""What has been asked for and is not done yet: with it a new wish is compared, where one equal to the present is none.

A wish that waits changes the object later. Who asks meanwhile for what the object has now wants that it stays so, or
becomes so again: that is a wish too, and is queued behind the other. The last one decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from panel.tasks.models import OPEN, Task


def still_to_ask(
    operation: str, object_id: int, asked: Mapping[str, Any], present: Mapping[str, Any], **about: Any
) -> dict[str, Any]:
    """Those of the `asked` values that the object does not have, or will not have when all that waits is done.

    `operation` is what they are parameters of; `about` are parameters that tell which part of the object is meant.
    """
    found = dict(asked)
    for name, value in asked.items():
        if present.get(name) == value and last_wish(operation, object_id, name, value, **about) == value:
            del found[name]
    return found


def last_wish(operation: str, object_id: int, name: str, present: Any, **about: Any) -> Any:
    """What the newest open task of the operation asks for under `name`; the present value where none does."""
    return next((task.params[name] for task in _open(operation, object_id, about) if _asks(task, name)), present)


def _open(operation: str, object_id: int, about: Mapping[str, Any]) -> Iterator[Task]:
    """Tasks that are waiting or at work, the newest first; one that goes back brings nothing."""
    tasks = Task.objects.filter(operation=operation, object_id=object_id, status__in=OPEN, undoing=False)
    for task in tasks.filter(cancel_requested_by="").order_by("-pk"):
        if all(task.params.get(name) == value for name, value in about.items()):
            yield task


def _asks(task: Task, name: str) -> bool:
    return task.params.get(name) is not None
