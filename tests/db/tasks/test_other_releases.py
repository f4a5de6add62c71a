"""Tasks that another release made: carried on with where all of it is understood, else stuck with a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

import panel
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core.errors import WrongState
from panel.images.models import Image
from panel.notices.models import Problem
from panel.tasks import engine, registry, services, worker
from panel.tasks.models import Status, Task, TaskLock, TaskSecret, TaskStep
from panel.tasks.operation import Operation, Step
from panel.vms.models import Vm
from tests.db.conftest import run_task

PAST = "2000-01-01T00:00:00Z"
RAW = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
Change = Callable[[pytest.MonkeyPatch, Operation[Any]], None]


@pytest.fixture
def task(admin: User, node: Node, image: Image) -> Task:
    """A deployment that nobody has begun yet."""
    return registry.get("vm.create").submit(admin, RAW)


def _steps(change: Callable[[Step], Step | None], *more: Step) -> Change:
    """The operation has other steps."""

    def apply(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
        changed = [each for step in operation.steps if (each := change(step))]
        patch.setattr(type(operation), "steps", (*changed, *more))

    return apply


def _calls_it(name: str, *formerly: str) -> Change:
    return _steps(lambda step: replace(step, id=name, formerly=formerly) if step.name == "grow_disk" else step)


def _nothing(ctx: Any) -> None:
    """A step that another release has."""


def _removed(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
    patch.delitem(registry._operations, operation.name)


def _version(number: int, **older: Any) -> Change:
    def apply(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
        patch.setattr(type(operation), "params_version", number)
        patch.setattr(type(operation), "older_params", {int(each[1:]): convert for each, convert in older.items()})

    return apply


def _newer(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
    Task.objects.update(params_version=2, release="9.1.0")


def _misread(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
    Task.objects.update(params={**RAW, "memory_mib": "much"})


def _begun_without_it(patch: pytest.MonkeyPatch, operation: Operation[Any]) -> None:
    TaskStep.objects.filter(name="grow_disk").delete()


@pytest.mark.parametrize(
    "change",
    [
        _calls_it("enlarge", "grow_disk"),
        _steps(lambda step: step, Step(_nothing, "Something more")),
        _version(2, _1=lambda raw: raw),
        _version(3, _1=lambda raw: raw | {"old": 1}, _2=lambda raw: {k: v for k, v in raw.items() if k != "old"}),
    ],
    ids=["a step is called anew", "a step more", "parameters of the version before", "and of the one before that"],
)
def test_what_is_understood_is_carried_on_with(task: Task, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    change(monkeypatch, registry.get("vm.create"))
    ended = run_task(task)
    assert (ended.status, ended.error) == (Status.DONE, None)
    assert not ended.steps.exclude(status="done").exists()
    assert not TaskLock.objects.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_removed, "it has no operation “vm.create”"),
        (_calls_it("enlarge"), "it does not know the step “Grow the disk” (grow_disk)"),
        (_begun_without_it, "the task is beyond the step “Grow the disk” (grow_disk)"),
        (_version(2), "parameters of version 1 of “vm.create” are not known any more"),
        (_newer, "made by release 9.1.0 of the panel"),
        (_version(2, _1=lambda raw: raw["not there"]), "its parameters are none of “vm.create”"),
        (_misread, "its parameters are none of “vm.create” (memory_mib)"),
    ],
    ids=["operation", "step", "too late", "old version", "newer release", "conversion", "value"],
)
def test_what_is_not_is_stuck_keeps_its_locks_and_says_why(
    task: Task, admin: User, api: APIClient, monkeypatch: pytest.MonkeyPatch, change: Change, said: str
) -> None:
    engine.claim(task.pk, "one")
    TaskStep.objects.filter(name="copy_image").update(status="done")
    TaskStep.objects.filter(name="define_domain").update(status="running")
    Task.objects.update(lease_until=PAST)
    held = list(TaskLock.objects.values_list("kind", "object_id"))
    raw = Task.objects.values("params", "params_version", "release").get()
    rows = list(TaskStep.objects.values_list("name", flat=True))
    address = f"/api/v1/tasks/{task.pk}"
    assert api.get(address).json()["error"] is None
    with monkeypatch.context() as patch:
        change(patch, registry.get("vm.create"))
        Task.objects.update(next_run_at=PAST)
        # The page of a task whose turn has not come is there, whatever made it.
        assert api.get(address).status_code == 200
        left = engine.run(task.pk, "two")

        assert left is not None and left.status == Status.STUCK
        assert left.error is not None and (left.error["code"], said in left.error["message"]) == (
            "task_not_understood",
            True,
        ), left.error
        problem = Problem.objects.get(open_key=f"task:{task.pk}:stuck")
        assert said in problem.text and "give it up" in problem.text
        assert list(TaskLock.objects.values_list("kind", "object_id")) == held
        assert TaskSecret.objects.filter(task=task).exists()
        # It is left alone, is told of by every door, and stays so when it is tried again too soon.
        assert worker.find_ready() == []
        assert engine.run(task.pk, "three") is None
        assert api.get(address).json()["error"]["code"] == "task_not_understood"
        assert api.post(f"{address}/cancel").status_code == 409
        services.retry_undo(left, admin)
        again = engine.run(task.pk, "four")
        assert again is not None and again.status == Status.STUCK
    # A release that understands it carries on with it.
    Task.objects.update(**raw)
    if missing := set(rows) - set(TaskStep.objects.values_list("name", flat=True)):
        TaskStep.objects.bulk_create(TaskStep(task=task, position=99, name=name, title=name) for name in missing)
    TaskStep.objects.exclude(name="reserve_records").update(status="pending")
    assert services.retry_undo(task, admin).status == Status.RETRYING
    assert run_task(task).status == Status.DONE
    assert not Problem.objects.filter(open_key__isnull=False).exists()


def test_one_that_goes_back_is_undone_though_a_step_is_new(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    TaskStep.objects.filter(name="grow_disk").delete()
    Task.objects.update(undoing=True, error={"code": "operation_failed", "message": "It failed."})
    assert run_task(task).status == Status.FAILED
    assert not Vm.objects.exists() and not TaskLock.objects.exists()


def test_a_stuck_task_is_given_up_as_it_is(
    task: Task, admin: User, api: APIClient, api_as_user: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/api/v1/tasks/{task.pk}/give-up"
    assert api.post(address).status_code == 409
    with monkeypatch.context() as patch:
        _removed(patch, registry.get("vm.create"))
        engine.run(task.pk, "one")
        assert api_as_user.post(address).status_code in (403, 404)
        assert api.post(address).status_code == 202
    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert not TaskLock.objects.exists() and not TaskSecret.objects.exists()
    assert not Problem.objects.filter(open_key__isnull=False).exists()
    # What it had reserved is there still, and goes as any VM does.
    assert run_task(registry.get("vm.delete").submit(admin, {}, object_id=task.object_id)).status == Status.DONE
    with pytest.raises(WrongState):
        services.give_up_stuck(task, admin)


def test_a_task_says_which_release_made_it(task: Task) -> None:
    assert (task.release, task.params_version) == (panel.__version__, 1)
