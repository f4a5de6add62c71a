"""Opening and closing problems. Idempotent: reporting the same thing twice keeps one problem."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from panel.core import live
from panel.core.wording import Text, for_row
from panel.notices.models import Problem, Severity


def open_problem(
    key: str, text: str | Text, *, severity: str = Severity.ERROR, object_type: str = "", object_id: int | None = None
) -> Problem:
    """Have the problem `key` open with this text; a second report only refreshes text and time."""
    english, said = for_row(text)
    fields = {"severity": severity, "text": english, "said": said, "object_type": object_type, "object_id": object_id}
    try:
        with transaction.atomic():
            problem, created = Problem.objects.update_or_create(
                open_key=key, defaults=fields, create_defaults={**fields, "key": key}
            )
    except IntegrityError:
        # Two reporters met between its read and its write; the other's row is as good as ours.
        return Problem.objects.get(open_key=key)
    if created:
        transaction.on_commit(lambda: live.publish("problem", {"id": problem.pk, "open": True}))
    return problem


def close_problem(key: str) -> bool:
    """Close the problem `key` if it is open; True when it was."""
    return close_problems([key]) == 1


def close_problems(keys: Sequence[str]) -> int:
    """Close those of the problems that are open; answers how many were. One query when none is."""
    return _close(Problem.objects.filter(open_key__in=keys))


def close_problems_of(object_type: str, object_id: int) -> int:
    """Close what is open about an object that is no more; answers how many problems were."""
    problems = Problem.objects.filter(object_type=object_type, object_id=object_id, open_key__isnull=False)
    return _close(problems)


def _close(open_ones: QuerySet[Problem]) -> int:
    problems = list(open_ones.values_list("pk", "open_key"))
    closed = []
    for pk, key in problems:
        if Problem.objects.filter(pk=pk, open_key=key).update(open_key=None, closed_at=timezone.now()):
            closed.append({"id": pk, "open": False})
    if closed:
        transaction.on_commit(lambda: live.publish_many("problem", closed))
    return len(closed)
