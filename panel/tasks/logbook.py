"""Writing a task's log: the one place, so that a line has what it is shown of in another language."""

from __future__ import annotations

from panel.core.wording import Text, for_row
from panel.tasks.models import TaskLog


def write(task_id: int, text: str | Text, *, step: str = "", level: str = "info") -> None:
    """Add a line: a Text, or a finished sentence. Never a secret."""
    english, said = for_row(text)
    TaskLog.objects.create(task_id=task_id, step=step, level=level, text=english, said=said)
