"""Where Celery meets the engine: "task N is ready", and the sweep that makes up for every lost message.

Each worker process pool has one sweeping thread in its parent. Several sweeps do no harm: claim()
lets just one worker have a task.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis
from celery.signals import worker_before_create_process, worker_process_init, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.db.models import Case, Exists, IntegerField, OuterRef, Q, When, Window
from django.db.models.functions import Now, RowNumber

from panel.celery import app
from panel.tasks import engine, locks, queue, shares
from panel.tasks.models import Status, Task
from vmwatch.alive import Alive

log = logging.getLogger(__name__)
_stop_sweeping = threading.Event()
_others: list[Callable[[], object]] = []


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@app.task(name=queue.RUN)
def run_task(task_id: int) -> None:
    """Carry out task `task_id` if it is to be run now."""
    queue.unmark(task_id)
    close_old_connections()
    try:
        engine.run(task_id, _owner())
    except DatabaseError as error:
        log.error("task %s: the database failed (%s); the sweep will find the task again", task_id, error)
    finally:
        close_old_connections()


def announce_ready() -> None:
    """Announce the tasks that wait for a worker, but those whose announcement is still in the queue.

    Each sweep of each worker would add one more of every waiting task, faster than busy workers take them out.
    Marks say which are in it; those of tasks that wait longer are over, but while it is as long as they are many
    it lacks none of them.
    """
    ready = find_ready()
    if ready and queue.waiting() >= len(ready):
        return
    for task_id in ready:
        try:
            waits = not queue.mark(task_id, again=False)
        except redis.RedisError:
            waits = False
        if not waits:
            queue.enqueue(task_id)


def find_ready(limit: int = 100) -> list[int]:
    """Ids of tasks that wait for a worker: announced in vain, due for a retry, or left by one that died.

    Those that wait behind another task come last, and each user's second behind everybody's first: however many they
    are, they keep nobody else from being found. Whoever has no room on this worker is not among them.
    """
    # Its maker has just announced a young one itself.
    unheard = Q(status=Status.QUEUED, next_run_at__lte=Now() - timedelta(seconds=settings.CONFIG.sweep_seconds))
    due = Q(status=Status.RETRYING, next_run_at__lte=Now())
    orphaned = Q(status__in=(Status.RUNNING, Status.UNDOING), lease_until__lt=Now())
    waits = Q(status=Status.QUEUED, cancel_requested_by="") & Exists(locks.blocked_rows(OuterRef("pk")))
    behind = Case(When(waits, then=1), default=0, output_field=IntegerField())
    turn = Window(RowNumber(), partition_by=[behind, "created_by"], order_by="pk")
    ready = Task.objects.filter(unheard | due | orphaned).exclude(shares.held_up(_owner()))
    found = ready.annotate(behind=behind, turn=turn).order_by("behind", "turn", "pk")
    return list(found.values_list("pk", flat=True)[:limit])


def on_sweep(function: Callable[[], object]) -> None:
    """Have a function called in every sweep of every worker; for apps above, from their AppConfig.ready()."""
    _others.append(function)


def _sweep_forever() -> None:
    alive = Alive()
    while not _stop_sweeping.wait(settings.CONFIG.sweep_seconds):
        alive()
        try:
            announce_ready()
            for function in _others:
                function()
        except DatabaseError as error:
            log.warning("the sweep cannot use the database: %s", error)
            connections.close_all()
        except Exception:
            # The sweep is what makes up for everything else; nothing may end it.
            log.exception("the sweep broke")


@worker_ready.connect
def _start_sweeping(**_: Any) -> None:
    _stop_sweeping.clear()
    threading.Thread(target=_sweep_forever, name="sweep", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stop_sweeping.set()


@worker_before_create_process.connect
def _keep_memory_shared(**_: Any) -> None:
    # What the parent has loaded would be copied into each child by the first collection of garbage there.
    gc.collect()
    gc.freeze()


@worker_process_init.connect
def _forget_inherited_connections(**_: Any) -> None:
    # A forked process must not speak on its parent's database connection.
    connections.close_all()
