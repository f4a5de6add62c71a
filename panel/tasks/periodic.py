"""Cron's entries of the tasks app."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from panel.core.purging import delete_in_batches
from panel.notices.models import Problem
from panel.tasks.models import Status, Task


def purge() -> None:
    """Delete tasks that ended TaskDays ago, and problems closed ProblemDays ago; stuck tasks stay until solved."""
    now = timezone.now()
    before = now - timedelta(days=settings.CONFIG.task_days)
    ended = Task.objects.filter(status__in=(Status.DONE, Status.FAILED, Status.CANCELLED), finished_at__lt=before)
    delete_in_batches(ended.order_by("pk"))
    closed = Problem.objects.filter(open_key=None, closed_at__lt=now - timedelta(days=settings.CONFIG.problem_days))
    delete_in_batches(closed.order_by("pk"))
