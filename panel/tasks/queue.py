"""Handing tasks over to the workers: "task N is ready", through Celery, and the marks of what is in the queue.

Knows rows and Redis alone: nothing of operations, and not how tasks are carried out (engine.py) or by whom (worker.py).
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Collection, Iterator
from functools import lru_cache

import redis
from django.conf import settings
from django.db.models.functions import Now

from panel.celery import app
from panel.tasks.models import Status, Task

log = logging.getLogger(__name__)
RUN = "panel.tasks.run"
"""What the workers know the message by; messages of a release before bear it, too."""
_later: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("later", default=None)
"""The tasks that are to be announced together, while announced_together() is in force."""
ANNOUNCED = "vmpanel:announced:{}"
"""The mark that a task's announcement waits in the queue. It is lost with the queue, when Redis is."""


@lru_cache(maxsize=1)
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=2.0, socket_connect_timeout=2.0)


@contextlib.contextmanager
def announced_together() -> Iterator[None]:
    """Tasks that are asked for meanwhile are announced at the end, so that their work does not hold up the asking."""
    later: list[int] = []
    token = _later.set(later)
    try:
        yield
    finally:
        _later.reset(token)
        for task_id in later:
            enqueue(task_id)


def enqueue(task_id: int) -> None:
    """Tell the workers that a task is ready. Never raises: without Redis the sweep finds it."""
    _announce(task_id, 0.0)


def enqueue_later(task_id: int, seconds: float) -> None:
    """Have the task taken up again in so many seconds, sooner than a sweep would find it."""
    if seconds < settings.CONFIG.lease_seconds:
        # Not before its time, by whichever clock.
        _announce(task_id, seconds + 0.05)


def wake(kind: str, object_ids: Collection[int]) -> None:
    """Take up at once what was put down for one of the objects: it has changed. Call it after commit."""
    waits = Task.objects.filter(object_type=kind, object_id__in=object_ids, status=Status.RETRYING)
    for task_id in list(waits.filter(next_run_at__gt=Now()).values_list("pk", flat=True)):
        if Task.objects.filter(pk=task_id, status=Status.RETRYING).update(next_run_at=Now()):
            enqueue(task_id)


def _announce(task_id: int, seconds: float) -> None:
    if (later := _later.get()) is not None:
        later.append(task_id)
        return
    try:
        mark(task_id)
        app.send_task(RUN, (task_id,), retry=False, ignore_result=True, countdown=seconds or None)
    except Exception as error:  # kombu raises whatever its transport does
        log.warning("task %s could not be announced (%s); the sweep will find it", task_id, error)


def mark(task_id: int, *, again: bool = True) -> bool:
    """Note that the task is in the queue, where a message may be lost; False when it is noted and `again` is not."""
    seconds = max(1, int(settings.CONFIG.lease_seconds))
    return bool(_redis().set(ANNOUNCED.format(task_id), 1, ex=seconds, nx=not again))


def waiting() -> int:
    """How many announcements are in the queue."""
    try:
        return int(_redis().llen(app.conf.task_default_queue))  # type: ignore[arg-type]
    except redis.RedisError:
        return 0


def unmark(task_id: int) -> None:
    try:
        _redis().delete(ANNOUNCED.format(task_id))
    except redis.RedisError as error:
        log.warning("task %s: its mark in Redis stays for a while: %s", task_id, error)
