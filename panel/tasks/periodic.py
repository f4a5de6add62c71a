"""Cron's entries of the tasks room."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from panel.tasks.models import Status, Task

KEEP_DAYS = 90
BATCH = 1000


def purge() -> None:
    """Delete ended tasks older than KEEP_DAYS, a bounded number at a time; stuck ones stay until solved."""
    before = timezone.now() - timedelta(days=KEEP_DAYS)
    ended = Task.objects.filter(status__in=(Status.DONE, Status.FAILED, Status.CANCELLED), finished_at__lt=before)
    Task.objects.filter(pk__in=list(ended.order_by("pk").values_list("pk", flat=True)[:BATCH])).delete()
