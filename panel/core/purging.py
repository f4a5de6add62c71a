"""Forgetting old rows in short transactions, so that nobody waits for them, and so many at most at a time."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

BATCH = 1000
MOST_BATCHES = 50


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete the rows, MOST_BATCHES batches of BATCH at the most; answers how many. The rest goes the next time."""
    count = 0
    for _ in range(MOST_BATCHES):
        batch = list(rows.values_list("pk", flat=True)[:BATCH])
        if batch:
            rows.model._default_manager.filter(pk__in=batch).delete()
            count += len(batch)
        if len(batch) < BATCH:
            break
    return count
