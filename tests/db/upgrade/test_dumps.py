"""The database of a release before, upgraded: every task runs on and ends, and every message is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.management import call_command

from panel.celery import app
from panel.core import live
from panel.core.redis_client import client
from panel.images.models import Image
from panel.monitoring import services as monitoring
from panel.monitoring.statistics.waiting import take_waiting
from panel.notices.models import Problem
from panel.tasks import engine
from panel.tasks.models import OPEN, Reservation, Status, Task, TaskLock, TaskSecret
from panel.webhooks import collecting
from panel.webhooks.models import Delivery
from tests.db.upgrade import dumping, remembered
from vmwatch import wire

PAST = "2000-01-01T00:00:00Z"
ROUNDS = 20
"""How often a task is taken up at most; the longest takes a few."""
NEED_HOSTS = {"cluster.read-host-key", "node.add", "node.reconnect"}
FORWARDS = (Status.QUEUED, Status.RUNNING, Status.RETRYING)


@pytest.fixture(params=dumping.releases())
def release(request: pytest.FixtureRequest, image: Image, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A release whose database was upgraded; the file of its image is there, and what fails is not tried again."""
    monkeypatch.setattr(settings.CONFIG, "retry_seconds", 0.0)
    with dumping.loaded(request.param):
        call_command("migrate", verbosity=0)
        remembered.remember(dumping.messages_of(request.param)["domains"])
        yield request.param


def carry_on() -> None:
    """Have every task taken up until none is open."""
    for _ in range(ROUNDS):
        Task.objects.filter(status=Status.RETRYING).update(next_run_at=PAST)
        Task.objects.filter(status__in=(Status.RUNNING, Status.UNDOING)).update(lease_until=PAST)
        waiting = list(Task.objects.filter(status__in=OPEN).order_by("pk").values_list("pk", flat=True))
        for pk in waiting:
            engine.run(pk, "test")
        if not waiting:
            return
    raise AssertionError(list(Task.objects.filter(status__in=OPEN).values("pk", "operation", "status", "error")))


def test_what_a_release_before_left_in_flight_ends_and_its_messages_are_taken(release: str) -> None:
    open_before = list(Task.objects.filter(status__in=OPEN))
    stuck = {task.pk for task in Task.objects.filter(status=Status.STUCK)}
    # What earlier releases did not reserve is, since their tasks take it as well.
    growing = [task.pk for task in open_before if task.operation == "vm.grow-disk"]
    assert set(Reservation.objects.values_list("task_id", flat=True)) >= set(growing) != set()
    take_messages(release)
    carry_on()

    ended = Task.objects.in_bulk([task.pk for task in open_before])
    forwards = [task for task in open_before if task.status in FORWARDS and not task.cancel_requested_by]
    told = {
        f"{task.operation} {task.status}": ended[task.pk].error
        for task in forwards
        if ended[task.pk].status != Status.DONE and task.operation not in NEED_HOSTS
    }
    assert told == {}
    assert {ended[task.pk].status for task in open_before if task.status == Status.UNDOING} == {Status.FAILED}
    # What was stuck is a person's still; nothing else has locks or secrets.
    assert {task.pk for task in Task.objects.filter(status=Status.STUCK)} == stuck
    assert set(TaskLock.objects.values_list("task_id", flat=True)) == stuck
    assert not Reservation.objects.exclude(task__in=stuck).exists()
    assert not TaskSecret.objects.exclude(task__in=stuck).exists()
    assert {key for (key,) in Problem.objects.filter(object_type="task").values_list("open_key")} == {
        f"task:{pk}:stuck" for pk in stuck
    }


def take_messages(release: str) -> None:
    """What waited in the queues, or was on its way, when the panel was upgraded is taken as the release's own is."""
    waited = dumping.messages_of(release)
    name, arguments = waited["celery"]
    app.tasks[name].run(*arguments)
    assert Task.objects.get(pk=arguments[0]).status != Status.QUEUED
    for text in waited["vmwatch"]:
        assert monitoring.take_messages([wire.from_raw(json.loads(text))]) == 1
    assert take_waiting() == 2
    before = Delivery.objects.count()
    for text in waited["events"]:
        client().xadd(live.STREAM, {"event": text})
    collecting.collect()
    assert Delivery.objects.count() > before
