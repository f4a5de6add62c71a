"""What the engine promises beside steps and undo: leases, fences, retries, cancelling, being stuck, the sweep."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import redis
from django.conf import LazySettings
from django.db import IntegrityError
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.client import Heed
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, NodeUnreachable, WrongState
from panel.images.models import Image
from panel.notices.models import Problem
from panel.tasks import engine, queue, registry, services, worker
from panel.tasks.models import Status, Task, TaskLock, TaskLog, TaskSecret, TaskStep
from panel.vms.models import Vm
from tests.db.conftest import run_task

PAST = "2000-01-01T00:00:00Z"


@pytest.fixture
def task(admin: User, node: Node, image: Image) -> Task:
    """A deployment that nobody has begun yet."""
    return registry.get("vm.create").submit(admin, {"name": "web1", "image": "small", "flavor": "small"})


def unreachable() -> NodeUnreachable:
    """A node that does not answer."""
    return NodeUnreachable(node="fake1", reason="no route")


def test_a_claimed_task_is_nobody_elses_until_its_lease_is_over(task: Task) -> None:
    assert engine.claim(task.pk, "one") is not None
    assert engine.claim(task.pk, "two") is None
    Task.objects.update(lease_until=PAST)
    taken = engine.claim(task.pk, "two")
    assert taken is not None and taken.fence == 2


class Dead(BaseException):
    """The worker is killed."""


@pytest.mark.parametrize(
    ("step", "undoing", "said"),
    [("copy_image", False, "Copy the image"), ("define_domain", True, "Define the domain")],
)
def test_the_log_says_which_worker_was_lost_where_and_who_took_over(
    task: Task, node: Node, step: str, undoing: bool, said: str
) -> None:
    class Deadly(engine.Observer):
        """Kills the worker before a step, or before its undo."""

        def before(self, task: Task, row: TaskStep) -> None:
            """The moment."""
            if (row.name, task.undoing) == (step, undoing):
                raise Dead

    if undoing:
        refusal = CommandFailed(node="fake1", command="host_start", text="no", agent_code="internal")
        fake.node(node.pk).fail("host_start", refusal)
    with pytest.raises(Dead):
        engine.run(task.pk, "panel:17", Deadly())
    Task.objects.update(lease_until=PAST)
    assert engine.claim(task.pk, "other:4") is not None

    line = TaskLog.objects.filter(task=task).latest("id")
    assert (line.step, line.level) == (step, "warning")
    assert line.text == f"The worker panel:17 was lost at step “{said}”; taken over by other:4."


def test_the_log_says_nothing_of_a_worker_that_let_the_task_go_itself(task: Task, node: Node) -> None:
    fake.node(node.pk).fail("host_start", unreachable())
    engine.run(task.pk, "panel:17")
    Task.objects.update(next_run_at=PAST)
    assert engine.claim(task.pk, "other:4") is not None
    assert not TaskLog.objects.filter(task=task, text__contains="was lost").exists()


def test_a_worker_that_died_between_two_steps_was_lost_at_the_next(task: Task) -> None:
    class Deadly(engine.Observer):
        """Kills the worker when a step's output is stored."""

        def stored(self, task: Task, row: TaskStep) -> None:
            """The moment."""
            if row.name == "copy_image":
                raise Dead

    with pytest.raises(Dead):
        engine.run(task.pk, "panel:17", Deadly())
    Task.objects.update(lease_until=PAST)
    assert engine.claim(task.pk, "other:4") is not None
    assert TaskLog.objects.filter(task=task).latest("id").step == "grow_disk"


def test_a_worker_that_lost_its_task_changes_nothing_more(task: Task, node: Node) -> None:
    class Overtaken(engine.Observer):
        """Another worker takes the task while a step runs."""

        def ran(self, task: Task, step: TaskStep) -> None:
            """The lease is over, and somebody else is quicker."""
            if step.name == "copy_image":
                Task.objects.update(lease_until=PAST)
                assert engine.claim(task.pk, "two") is not None

    assert engine.run(task.pk, "one", Overtaken()) is None
    assert Task.objects.get().fence == 2
    assert TaskStep.objects.get(name="copy_image").status == "running"
    assert fake.node(node.pk).domains == {}


def test_the_node_refuses_a_worker_that_was_overtaken(task: Task, node: Node) -> None:
    fake.node(node.pk).fences[task.pk] = 7
    assert engine.run(task.pk, "one") is None
    assert Task.objects.get().status == Status.RUNNING


def test_an_unreachable_node_is_tried_again_later_and_the_lease_given_up(task: Task, node: Node) -> None:
    fake.node(node.pk).fail("host_start", unreachable())
    left = engine.run(task.pk, "one")
    assert left is not None and left.status == Status.RETRYING
    assert left.next_run_at is not None and left.next_run_at > timezone.now()
    assert engine.claim(task.pk, "one") is None
    assert run_task(task).status == Status.DONE


def test_a_node_that_stays_away_makes_the_task_undo_itself(task: Task, node: Node) -> None:
    fake.node(node.pk).fail("host_start", unreachable())
    engine.run(task.pk, "one")
    TaskStep.objects.filter(name="start_domain").update(failing_since=timezone.now() - timedelta(hours=1))
    fake.node(node.pk).fail("host_start", unreachable())
    ended = run_task(task)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "node_unreachable")
    assert Vm.objects.count() == 0
    assert fake.node(node.pk).domains == {}


def test_what_cannot_be_undone_is_stuck_keeps_its_locks_and_says_so(task: Task, node: Node, admin: User) -> None:
    refusal = CommandFailed(node="fake1", command="volume_delete", text="read-only file system", agent_code="internal")
    memory = fake.node(node.pk)
    memory.fail("host_start", CommandFailed(node="fake1", command="host_start", text="no", agent_code="internal"))
    memory.fail("volume_delete", refusal, times=engine.UNDO_ATTEMPTS)
    ended = run_task(task)

    assert ended.status == Status.STUCK
    assert TaskLock.objects.filter(task=task).exists()
    problem = Problem.objects.get(open_key=f"task:{task.pk}:stuck")
    assert "read-only file system" in problem.text
    with pytest.raises(WrongState):
        services.cancel(ended, admin)

    services.retry_undo(ended, admin)
    assert run_task(task).status == Status.FAILED
    assert not TaskLock.objects.exists()
    assert not Problem.objects.filter(open_key__isnull=False).exists()
    assert Vm.objects.count() == 0


def test_a_cancelled_task_undoes_what_it_did(task: Task, node: Node, admin: User) -> None:
    fake.node(node.pk).fail("host_start", unreachable())
    engine.run(task.pk, "one")
    services.cancel(Task.objects.get(), admin)
    ended = run_task(task)
    assert (ended.status, ended.error and ended.error["by"]) == (Status.CANCELLED, "admin")
    assert fake.node(node.pk).domains == {}


@pytest.mark.parametrize("command", ["host_start", "upload"])
def test_a_step_that_waits_for_a_node_heeds_its_cancelling(
    task: Task, node: Node, admin: User, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fake.node(node.pk)
    memory.hang(command)
    wait = memory._wait

    def cancel_meanwhile(name: str, deadline: float, heed: Heed | None) -> None:
        if name == command:
            services.cancel(Task.objects.get(), admin)
        wait(name, deadline, heed)

    monkeypatch.setattr(memory, "_wait", cancel_meanwhile)
    began = time.monotonic()
    ended = run_task(task)
    # The lease looks every two seconds whether somebody asked.
    assert time.monotonic() - began < 10
    assert ended.status == Status.CANCELLED
    assert (memory.domains, memory.uploads) == ({}, {})


def test_a_task_is_cancelled_before_it_begins(task: Task, admin: User) -> None:
    services.cancel(task, admin)
    assert run_task(task).status == Status.CANCELLED
    assert Vm.objects.count() == 0


def test_the_sweep_finds_what_nobody_was_told_of(task: Task) -> None:
    assert worker.find_ready() == []
    Task.objects.update(next_run_at=PAST)
    assert worker.find_ready() == [task.pk]
    engine.claim(task.pk, "one")
    assert worker.find_ready() == []
    Task.objects.update(lease_until=PAST)
    assert worker.find_ready() == [task.pk]


def test_however_many_wait_behind_a_task_the_sweep_finds_the_others(task: Task, admin: User) -> None:
    for _ in range(3):
        registry.get("vm.force-off").submit(admin, {}, object_id=task.object_id, queue=True)
    other = registry.get("vm.create").submit(admin, {"name": "web2", "image": "small", "flavor": "small"})
    Task.objects.update(next_run_at=PAST)
    assert worker.find_ready(limit=2) == [task.pk, other.pk]
    assert len(worker.find_ready()) == 5


def test_a_task_in_the_queue_is_not_announced_by_every_sweep(task: Task, admin: User, settings: LazySettings) -> None:
    behind = registry.get("vm.force-off").submit(admin, {}, object_id=task.object_id, queue=True)
    broker = redis.Redis.from_url(settings.CONFIG.redis_url)
    broker.flushdb()
    Task.objects.update(next_run_at=PAST)
    for _ in range(3):
        worker.announce_ready()
    assert broker.llen("celery") == 2
    # One that left the queue and still had to wait is announced again.
    broker.lpop("celery")
    worker.run_task(behind.pk)
    worker.announce_ready()
    assert broker.llen("celery") == 2
    # However long they wait, each is in it once; and what was lost with Redis is announced again.
    marks = [queue.ANNOUNCED.format(each.pk) for each in (task, behind)]
    assert broker.delete(*marks) == 2
    worker.announce_ready()
    assert broker.llen("celery") == 2
    broker.flushdb()
    worker.announce_ready()
    assert broker.llen("celery") == 2


def test_queued_tasks_run_in_the_order_in_which_they_were_asked_for(task: Task, admin: User) -> None:
    first = registry.get("vm.force-off").submit(admin, {}, object_id=task.object_id, queue=True)
    second = registry.get("vm.start").submit(admin, {}, object_id=task.object_id, queue=True)
    assert engine.claim(first.pk, "x") is None
    assert engine.claim(second.pk, "x") is None
    run_task(task)
    assert engine.claim(second.pk, "x") is None
    run_task(first)
    assert run_task(second).status == Status.DONE
    assert Vm.objects.get().status == "running"


def test_a_step_that_is_always_interrupted_fails_in_the_end(task: Task) -> None:
    TaskStep.objects.filter(name="grow_disk").update(status="running", attempts=engine.MOST_ATTEMPTS)
    ended = run_task(task)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "operation_failed")


def test_a_row_that_another_one_forbids_fails_the_step_and_does_not_cost_the_worker_its_lease(task: Task) -> None:
    class Taken(engine.Observer):
        """Finds something taken that only the database knows of."""

        def before(self, task: Task, row: TaskStep) -> None:
            """The moment."""
            if row.name == "grow_disk" and not task.undoing:
                raise IntegrityError(1062, "Duplicate entry")

    ended = run_task(task, Taken())
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "operation_failed")
    assert Vm.objects.count() == 0


def test_a_secret_ends_with_the_last_step_that_needs_it_and_when_the_task_turns_back(
    admin: User, node: Node, image: Image
) -> None:
    had: dict[tuple[str, bool], bool] = {}

    class Watching(engine.Observer):
        """Notes before each step whether the task has secrets."""

        def before(self, task: Task, row: TaskStep) -> None:
            """The moment."""
            had[row.name, task.undoing] = TaskSecret.objects.filter(task=task).exists()

    raw = {"image": "small", "flavor": "small", "password": "correct horse"}
    run_task(registry.get("vm.create").submit(admin, {"name": "web1", **raw}), Watching())
    assert had["customize_guest", False] and not had["define_domain", False]
    refusal = CommandFailed(node="fake1", command="volume_grow", text="no", agent_code="internal")
    fake.node(node.pk).fail("volume_grow", refusal)
    task = run_task(registry.get("vm.create").submit(admin, {"name": "web2", **raw}), Watching())
    assert task.status == Status.FAILED
    assert had["grow_disk", False] and not had["grow_disk", True]


@pytest.mark.parametrize(
    "fault", [ValueError("secret detail"), KeyError("x"), IntegrityError("Column 'x'"), OSError(5, "x")]
)
def test_a_fault_that_nobody_foresaw_is_told_without_an_exception_s_name(
    task: Task, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    def raise_it(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(fake.node(node.pk), "call", raise_it)
    ended = run_task(task)
    told = ended.error["message"] if ended.error else ""
    assert "broke: the panel met a fault of its own" in told and str(task.pk) in told
    assert type(fault).__name__ not in told and str(fault) not in told
    assert type(fault).__name__ in caplog.text
