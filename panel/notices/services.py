"""Opening and closing problems. Idempotent: reporting the same thing twice keeps one problem."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from panel.core import live
from panel.notices.models import Problem, Severity


def open_problem(
    key: str, text: str, *, severity: str = Severity.ERROR, object_type: str = "", object_id: int | None = None
) -> Problem:
    """Have the problem `key` open with this text; a second report only refreshes text and time."""
    fields = {"severity": severity, "text": text, "object_type": object_type, "object_id": object_id}
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
    problem = Problem.objects.filter(open_key=key).first()
    if problem is None:
        return False
    closed = Problem.objects.filter(pk=problem.pk, open_key=key).update(open_key=None, closed_at=timezone.now())
    if closed:
        transaction.on_commit(lambda: live.publish("problem", {"id": problem.pk, "open": False}))
    return bool(closed)
