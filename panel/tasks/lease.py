"""A worker's hold on a task: a thread that renews it and notices loss and cancellation."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from panel.tasks.models import Task

log = logging.getLogger(__name__)


class Lease:
    """Renews the lease of a claimed task while the block runs.

    `lost` is set when another worker has taken the task, `cancelled` when a person asked for its
    end. A database that is away for a moment is not a loss: the fence decides that later.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{task.pk}", daemon=True)
        if task.cancel_requested_by:
            self.cancelled.set()

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        # A third of the lease may pass twice unanswered before anybody else may take the task.
        interval = min(settings.CONFIG.lease_seconds / 3, 2.0)
        try:
            while not self._over.wait(interval):
                try:
                    self._renew()
                except DatabaseError as failure:
                    log.warning("task %s: the lease could not be renewed: %s", self.task.pk, failure)
                    connection.close()
        finally:
            connection.close()

    def _renew(self) -> None:
        mine = Task.objects.filter(pk=self.task.pk, fence=self.task.fence)
        if not mine.update(lease_until=Now() + timedelta(seconds=settings.CONFIG.lease_seconds)):
            self.lost.set()
            self._over.set()
            return
        by = mine.values_list("cancel_requested_by", flat=True).first()
        if by:
            self.task.cancel_requested_by = by
            self.cancelled.set()
