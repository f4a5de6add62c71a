"""Whose turn it is at a worker's processes, so that nobody holds up the others.

One customer has at most half of a worker at a time, all customers together leave a quarter to administrators, to the
panel's own checks and to what they ask for. Tasks on a node that does not answer go there one at a time, to find out
whether it does again. Who may not begin yet is found by the sweep, or told by the one who leaves.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import Counter
from datetime import timedelta

import redis
from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from panel.accounts.models import Level
from panel.core.redis_client import client
from panel.tasks import locks
from panel.tasks.models import Status, Task
from panel.tasks.queue import enqueue

SILENT, PROBE = "vmpanel:silent:{}", "vmpanel:probe:{}"
SILENT_SECONDS = 120
"""How long a node that did not answer counts as silent, if nobody tries it."""
PROBE_SECONDS = 20
AGAIN_SECONDS = 5.0


def of_one_customer() -> int:
    """How many tasks of one customer a worker carries out at a time."""
    return max(1, int(settings.CONFIG.worker_concurrency) // 2)


def of_customers() -> int:
    """How many tasks of all customers; the rest is the reserve."""
    every = int(settings.CONFIG.worker_concurrency)
    return max(1, every - max(1, every // 4))


def take_turns(owner: str) -> None:
    """Until the transaction ends, no other process of the same machine claims a task: else all would count at once."""
    locks.hold("worker", zlib.crc32(_machine(owner).encode()))


def may_begin(task: Task, owner: str) -> bool:
    """Whether the task's user has room on this worker, and its node is to be tried; call it after take_turns()."""
    at_work = _at_work(owner)
    full = at_work[task.created_by_id] >= of_one_customer() or at_work.total() >= of_customers()
    return not (full and _is_customers(task)) and _may_try_node(task)


def let_go(task: Task, *, node_silent: bool | None) -> None:
    """The worker is free of the task: whoever waits for its room is told. None: the node was not asked for anything."""
    _note_node(task, silent=node_silent)
    if _is_customers(task):
        for task_id in _next_ones(task):
            enqueue(task_id)


def held_up(owner: str) -> Q:
    """The tasks that have no room on this worker now."""
    at_work = _at_work(owner)
    if at_work.total() >= of_customers():
        return Q(created_by__level=Level.USER)
    return Q(created_by__in=[user for user, count in at_work.items() if count >= of_one_customer()])


def _machine(owner: str) -> str:
    return owner.rpartition(":")[0] + ":"


def _is_customers(task: Task) -> bool:
    return task.created_by is not None and task.created_by.level == Level.USER


def _at_work(owner: str) -> Counter[int | None]:
    """How many tasks of each customer the workers of this machine carry out."""
    held = Task.objects.filter(status__in=(Status.RUNNING, Status.UNDOING), lease_until__gte=Now())
    mine = held.filter(lease_owner__startswith=_machine(owner), created_by__level=Level.USER)
    return Counter(mine.values_list("created_by", flat=True).order_by())


def _ready() -> QuerySet[Task]:
    ready = Task.objects.filter(status__in=(Status.QUEUED, Status.RETRYING), next_run_at__lte=Now())
    waits = Q(status=Status.QUEUED, cancel_requested_by="") & Exists(locks.blocked_rows(OuterRef("pk")))
    return ready.filter(created_by__level=Level.USER).exclude(waits).order_by("pk")


def _next_ones(task: Task) -> list[int]:
    """The oldest task of the same customer that could begin, and the oldest of another."""
    ready = _ready()
    same = ready.filter(created_by=task.created_by_id).values_list("pk", flat=True)[:1]
    others = ready.exclude(created_by=task.created_by_id).values_list("pk", flat=True)[:1]
    return [*others, *same]


def _may_try_node(task: Task) -> bool:
    """False where the node is silent and another task tries it already; this one is then put off a little.

    What is about the node itself is not held up: it is how one finds out.
    """
    if task.node_id is None or task.object_type == "node":
        return True
    try:
        if not client().exists(SILENT.format(task.node_id)):
            return True
        if client().set(PROBE.format(task.node_id), task.pk, nx=True, ex=PROBE_SECONDS):
            return True
    except redis.RedisError:
        return True
    if task.status in (Status.QUEUED, Status.RETRYING):
        Task.objects.filter(pk=task.pk).update(next_run_at=Now() + timedelta(seconds=AGAIN_SECONDS))
    return False


def _note_node(task: Task, *, silent: bool | None) -> None:
    if task.node_id is None:
        return
    # Redis may be away: the marks are for speed alone.
    with contextlib.suppress(redis.RedisError):
        client().delete(PROBE.format(task.node_id))
        if silent:
            client().set(SILENT.format(task.node_id), 1, ex=SILENT_SECONDS)
        elif silent is not None:
            client().delete(SILENT.format(task.node_id))
