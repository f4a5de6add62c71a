"""One cannot hold up the others: waits hold no worker, shares and a reserve, nodes that do not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import NodeUnreachable
from panel.core.redis_client import client
from panel.tasks import engine, queue, registry, worker
from panel.tasks.models import Status, Task
from panel.vms.models import Cause, Vm
from panel.vms.status import Observation, StatusLog
from tests.db.conftest import hashed, run_task
from tests.db.monitoring import messages

MACHINE = "machine"
PAST = "2000-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def empty_redis() -> Iterator[None]:
    """What other tests announced is nobody's here."""
    client().flushdb()
    yield
    client().flushdb()


@pytest.fixture
def make_vm(node: Node) -> Callable[[User, str], Vm]:
    """Running VMs of a user."""

    def make(owner: User, name: str) -> Vm:
        vm = messages.make_vm(node, owner, name)
        messages.define(node, vm, "running")
        return vm

    return make


@pytest.fixture
def other() -> User:
    """Another customer."""
    return User.objects.create(name="bert", password=hashed("correct horse"))


def ask(by: User, vm: Vm, name: str, **raw: object) -> Task:
    """A task that is ready."""
    return registry.get(name).submit(by, raw, object_id=vm.pk)


def hang(vm: Vm) -> None:
    """Its guest does not hear the button."""
    fake.node(vm.node_id).domains[str(vm.uuid)].obeys = False


def test_twenty_hanging_shutdowns_hold_no_worker_and_anothers_start_is_done_at_once(
    make_vm: Callable[[User, str], Vm], user: User, other: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.vms.waiting.PATIENCE_SECONDS", 0.01)
    vms = [make_vm(user, f"hang{number}") for number in range(20)]
    mine = make_vm(other, "mine")
    run_task(ask(other, mine, "vm.force-off"))
    for vm in vms:
        hang(vm)
    waiting = [ask(user, vm, "vm.stop", timeout_seconds=3600) for vm in vms]
    started = ask(other, mine, "vm.start")
    # One process takes them in their order: none of the twenty keeps it.
    for task in waiting:
        left = engine.run(task.pk, f"{MACHINE}:1")
        assert left is not None and left.status == Status.RETRYING
    ended = engine.run(started.pk, f"{MACHINE}:1")
    assert ended is not None and ended.status == Status.DONE
    assert not Task.objects.filter(status=Status.RUNNING).exists()


def test_a_shutdown_that_was_put_down_is_taken_up_when_vmwatch_sees_the_guest_off(
    make_vm: Callable[[User, str], Vm], user: User, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.vms.waiting.PATIENCE_SECONDS", 0.01)
    vm = make_vm(user, "web1")
    hang(vm)
    task = ask(user, vm, "vm.stop", timeout_seconds=3600)
    engine.run(task.pk, f"{MACHINE}:1")
    client().flushdb()
    Task.objects.filter(pk=task.pk).update(next_run_at=timezone.now() + timedelta(hours=1))
    fake.node(node.pk).domains[str(vm.uuid)].state = "shut off"
    seen = Observation("shut off", timezone.now(), Cause.VMWATCH, node, epoch=1, sequence=1)
    with transaction.atomic():
        log = StatusLog()
        log.record(Vm.objects.select_for_update().get(pk=vm.pk), seen)
        log.write()
    assert client().llen("celery") == 1
    ended = engine.run(task.pk, f"{MACHINE}:1")
    assert ended is not None and (ended.status, ended.result) == (Status.DONE, {"forced": False})


def test_a_customer_has_half_of_a_worker_and_customers_leave_a_reserve_to_administrators(
    make_vm: Callable[[User, str], Vm], admin: User, user: User, other: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "worker_concurrency", 4)
    tasks = [ask(user, make_vm(user, f"web{number}"), "vm.reset") for number in range(3)]
    others = [ask(other, make_vm(other, f"db{number}"), "vm.reset") for number in range(2)]
    checks = ask(admin, make_vm(admin, "panel"), "vm.reset")
    claimed = [engine.claim(task.pk, f"{MACHINE}:{place}") is not None for place, task in enumerate([*tasks, *others])]
    assert claimed == [True, True, False, True, False]
    # Neither is announced again until there is room; of an administrator's there is.
    Task.objects.filter(status=Status.QUEUED).update(next_run_at=PAST)
    monkeypatch.setattr(worker, "_owner", lambda: f"{MACHINE}:0")
    assert worker.find_ready() == [checks.pk]
    assert engine.claim(checks.pk, f"{MACHINE}:9") is not None
    # Another machine has room of its own, and a worker that died keeps none.
    assert engine.claim(tasks[2].pk, "elsewhere:1") is not None
    Task.objects.filter(pk=tasks[0].pk).update(lease_until=PAST)
    assert engine.claim(others[1].pk, f"{MACHINE}:5") is not None


def test_who_leaves_a_worker_tells_whoever_waits_for_its_room(
    make_vm: Callable[[User, str], Vm], user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "worker_concurrency", 2)
    first, second = (ask(user, make_vm(user, f"web{number}"), "vm.reset") for number in range(2))

    class Meanwhile(engine.Observer):
        """The other one is tried while the first has the room."""

        def before(self, task: Task, step: object) -> None:
            """The moment."""
            assert engine.claim(second.pk, f"{MACHINE}:2") is None
            client().flushdb()

    assert engine.run(first.pk, f"{MACHINE}:1", Meanwhile()) is not None
    assert client().exists(queue.ANNOUNCED.format(second.pk))


def test_every_users_first_task_is_found_before_anybodys_second(
    make_vm: Callable[[User, str], Vm], user: User, other: User
) -> None:
    many = [ask(user, make_vm(user, f"web{number}"), "vm.reset") for number in range(3)]
    one = ask(other, make_vm(other, "db"), "vm.reset")
    Task.objects.filter(status=Status.QUEUED).update(next_run_at=PAST)
    assert worker.find_ready(2) == [many[0].pk, one.pk]


def test_a_silent_node_is_tried_by_one_task_at_a_time(
    make_vm: Callable[[User, str], Vm], admin: User, node: Node
) -> None:
    tasks = [ask(admin, make_vm(admin, f"web{number}"), "vm.reset") for number in range(3)]
    fake.node(node.pk).fail("host_reset", NodeUnreachable(node="fake1", reason="no route"))
    left = engine.run(tasks[0].pk, f"{MACHINE}:1")
    assert left is not None and left.status == Status.RETRYING

    class Meanwhile(engine.Observer):
        """Another one comes while the first tries the node."""

        def before(self, task: Task, step: object) -> None:
            """The moment."""
            assert engine.claim(tasks[2].pk, f"{MACHINE}:2") is None

    assert engine.run(tasks[1].pk, f"{MACHINE}:1", Meanwhile()) is not None
    # It was put off until the node is known to answer, which is known by now.
    put_off = Task.objects.get(pk=tasks[2].pk)
    assert put_off.status == Status.QUEUED and put_off.next_run_at is not None
    assert put_off.next_run_at > timezone.now()
    Task.objects.filter(pk=put_off.pk).update(next_run_at=PAST)
    ended = engine.run(put_off.pk, f"{MACHINE}:1")
    assert ended is not None and ended.status == Status.DONE
