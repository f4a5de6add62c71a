"""What a plan tells beside the steps and their changes: how long such steps took before, and what would be locked."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from panel.tasks.models import Status, Task, TaskStep

Plan = dict[str, list[dict[str, Any]]]
"""`steps` and `locks` (see Operation.plan), JSON-ready but for the Texts of the steps."""
RECENT = 20
"""How many runs say how long a step takes: enough to be sure, few enough to be of today."""


def seconds_before(operation: str) -> dict[str, float]:
    """The median of the seconds that each step took in the last runs that ended well, by its name; two queries.

    Waiting for another try counts. A step that was never done is not in it.
    """
    done = Task.objects.filter(operation=operation, status=Status.DONE).order_by("-pk")
    recent = list(done.values_list("pk", flat=True)[:RECENT])
    rows = TaskStep.objects.filter(task__in=recent).order_by()
    took: dict[str, list[float]] = defaultdict(list)
    for row in rows.only("name", "started_at", "finished_at"):
        if row.started_at and row.finished_at:
            took[row.name].append((row.finished_at - row.started_at).total_seconds())
    return {name: round(median(seconds), 3) for name, seconds in took.items()}
