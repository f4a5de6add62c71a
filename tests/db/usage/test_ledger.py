"""The ledger is exact whatever is done to a VM, to its worker, and to the database's clock."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core.errors import CapacityError, InvalidValue, RequestError
from panel.doctor.services import look
from panel.images.models import Image
from panel.monitoring import usage
from panel.tasks import registry
from panel.tasks.models import Task
from panel.usage import ledger
from panel.usage.intervals import Size, seconds_by_size
from panel.usage.models import Closed, Entry
from panel.vms.models import Vm
from panel.vms.usage import differing, note_shape
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import make_vm
from tests.db.tasks.strikes import PAST, Died, Strike

NOON = datetime(2031, 5, 10, 12, tzinfo=UTC)
DAY_BEFORE = NOON - timedelta(days=1)


def set_clock(at: datetime | None) -> None:
    """What the database's clock shows to this connection; None: the right time."""
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION timestamp = %s", [at.timestamp() if at else 0])


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon; the right time afterwards."""
    set_clock(NOON)
    yield
    set_clock(None)


@pytest.fixture
def world(admin: User, user: User, node: Node, image: Image) -> User:
    """Two nodes, two users."""
    make_node("fake2")
    return admin


def entries(vm_id: int) -> list[Entry]:
    """The VM's, in their order."""
    return list(Entry.objects.filter(vm_id=vm_id))


def used(viewer: User, vm_id: int, begin: datetime, end: datetime) -> dict[Size, int]:
    """Seconds by size, asked for as billing does."""
    found = usage.vm_usage(viewer, vm_id, *usage.closed_period(begin, end))
    assert sum(part.seconds for part in found.stretches) == (found.end - found.begin).total_seconds()
    return seconds_by_size(found.stretches)


@dataclass
class Model:
    """What a VM was from when on, noted by one who looks at its row after each step."""

    changes: list[tuple[datetime, Size | None]] = field(default_factory=list)

    def note(self, vm_id: int, now: datetime) -> None:
        """Look at the VM."""
        vm = Vm.objects.filter(pk=vm_id).first()
        size = None
        if vm is not None:
            disk_gib = sum(disk.volume.size_gib for disk in vm.disks.all())
            # What waits for the next start it does not have.
            has = {
                "vcpus": vm.vcpus,
                "memory_mib": vm.memory_mib,
                **{each["field"]: each["now"] for each in vm.pending},
            }
            addresses = vm.interfaces.count()
            size = Size(vm.owner_id, has["vcpus"], has["memory_mib"], disk_gib, addresses, vm.suspended)
        if self.changes and self.changes[-1][1] == size:
            return
        # Time that went back stands still until it has caught up.
        now = max([now, *(at for at, _ in self.changes[-1:])])
        self.changes.append((now, size))

    def seconds(self, begin: datetime, end: datetime) -> dict[Size, int]:
        """How long it was of each size."""
        found: dict[Size, int] = {}
        for (at, size), (until, _) in zip(self.changes, [*self.changes[1:], (end, None)], strict=True):
            length = int((min(until, end) - max(at, begin)).total_seconds())
            if size is not None and length > 0:
                found[size] = found.get(size, 0) + length
        return found


CHANGES = {
    "resize": lambda number: ("vm.configure", {"memory_mib": 256 + 64 * (number % 5), "vcpus": 1 + number % 3}),
    "grow": lambda number: ("vm.grow-disk", {"disk": "vda", "size_gib": 10 + number}),
    "disk": lambda number: ("vm.add-disk", {"size_gib": 1}),
    "address": lambda number: ("vm.add-interface", {}),
    "suspend": lambda number: ("vm.suspend", {}),
    "unsuspend": lambda number: ("vm.unsuspend", {}),
    "migrate": lambda number: ("vm.migrate", {}),
    "give": lambda number: ("vm.change-owner", {"owner": ("admin", "anna")[number % 2]}),
    "delete": lambda number: ("vm.delete", {}),
}
steps = st.tuples(
    st.sampled_from(sorted(CHANGES)),
    st.integers(0, 600).filter(lambda seconds: seconds != 1),
    st.sampled_from([0, 0, 0, -900, 7200]),
    st.sampled_from(["", "", "before", "ran", "stored"]),
    st.booleans(),
)


def carry_out(task: Task, death: str) -> None:
    """To its end, by a second worker where the first one dies at the first step that is not inline."""
    step = next((step.name for step in registry.get(task.operation).steps if not step.inline), None)
    if death and step is not None:
        with pytest.raises(Died):
            run_task(task, Strike(step, death, Died()))
        assert not list(differing())
        Task.objects.filter(pk=task.pk).update(lease_until=PAST)
    run_task(task)


# An example is seconds of real operations: the same ones each time, and a failing one is not made smaller.
@settings(
    max_examples=int(os.environ.get("VMPANEL_LEDGER", "5")),
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(steps, min_size=1, max_size=7))
def test_usage_is_exact_under_resize_suspension_moves_clock_changes_and_deaths(
    world: User, plan: list[tuple[str, int, int, str, bool]]
) -> None:
    Closed.objects.all().delete()
    now = NOON
    set_clock(now)
    raw = {"name": f"vm{Vm.objects.count()}-{Task.objects.count()}", "image": "small", "flavor": "tiny"}
    task = registry.get("vm.create").submit(world, raw)
    vm_id, model = int(task.object_id or 0), Model()
    model.note(vm_id, now)
    run_task(task)
    told: list[tuple[datetime, datetime, dict[Size, int]]] = []
    for number, (what, seconds, shift, death, ask) in enumerate(plan):
        now += timedelta(seconds=seconds + shift)
        set_clock(now)
        if ask:
            end = usage.closed_period(DAY_BEFORE, None)[1]
            told.append((DAY_BEFORE, end, used(world, vm_id, DAY_BEFORE, end)))
            # Nothing is dated into what was told, though the clock be set back.
            model.changes.append((max(end, model.changes[-1][0]), model.changes[-1][1]))
        name, raw = CHANGES[what](number)
        try:
            task = registry.get(name).submit(world, raw, object_id=vm_id)
        except (RequestError, CapacityError):
            continue
        carry_out(task, death)
        model.note(vm_id, now)
        assert not list(differing())
    now += timedelta(hours=5)
    set_clock(now)
    for begin, end, answer in told:
        assert used(world, vm_id, begin, end) == answer
    first, middle = NOON - timedelta(minutes=1), NOON + timedelta(minutes=7)
    assert used(world, vm_id, first, now) == model.seconds(first, now)
    assert used(world, vm_id, middle, now) == model.seconds(middle, now)
    numbers = [(entry.sequence, entry.at) for entry in entries(vm_id)]
    assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
    assert [at for _, at in numbers] == sorted(at for _, at in numbers)
    if Vm.objects.filter(pk=vm_id).exists():
        run_task(registry.get("vm.delete").submit(world, {}, object_id=vm_id))
    assert entries(vm_id)[-1].exists is False


def test_rows_of_a_deleted_vm_stay_and_its_owner_reads_them(admin: User, user: User, node: Node, image: Image) -> None:
    task = run_task(registry.get("vm.create").submit(admin, {"name": "web1", "image": "small", "flavor": "tiny"}))
    vm_id = int(task.object_id or 0)
    set_clock(NOON + timedelta(minutes=10))
    run_task(registry.get("vm.change-owner").submit(admin, {"owner": "anna"}, object_id=vm_id))
    set_clock(NOON + timedelta(minutes=30))
    run_task(registry.get("vm.delete").submit(admin, {}, object_id=vm_id))
    set_clock(NOON + timedelta(minutes=60))
    for viewer, seconds in ((admin, 1800), (user, 1200)):
        found = used(viewer, vm_id, NOON, NOON + timedelta(hours=1))
        assert sum(found.values()) == seconds


def test_a_clock_that_was_set_back_dates_nothing_into_a_period_that_was_told(admin: User, node: Node) -> None:
    vm = make_vm(node, admin, "web1")
    note(vm, 128)
    assert used(admin, vm.pk, NOON - timedelta(hours=1), NOON + timedelta(hours=9)) == {}
    set_clock(NOON - timedelta(minutes=30))
    note(vm, 256)
    set_clock(NOON + timedelta(seconds=90))
    assert [entry.at for entry in entries(vm.pk)] == [NOON, NOON]
    assert list(used(admin, vm.pk, NOON - timedelta(hours=1), NOON + timedelta(seconds=90)).values()) == [90]


def test_a_period_does_not_reach_into_the_future(admin: User, node: Node) -> None:
    begin, end = usage.closed_period(NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    assert (begin, end) == (NOON - timedelta(hours=1), NOON)
    with pytest.raises(InvalidValue):
        usage.closed_period(NOON + timedelta(minutes=1), NOON + timedelta(hours=1))


def test_who_asks_waits_for_who_writes(admin: User, node: Node) -> None:
    vm = make_vm(node, admin, "web1")
    note(vm, 128)
    answers: list[dict[Size, int]] = []

    def ask() -> None:
        set_clock(NOON + timedelta(seconds=30))
        answers.append(used(admin, vm.pk, NOON, NOON + timedelta(seconds=30)))
        connection.close()

    asking = threading.Thread(target=ask)
    with transaction.atomic():
        set_clock(NOON + timedelta(seconds=10))
        note(vm, 256)
        asking.start()
        # It has not been told of while this transaction is open.
        asking.join(0.5)
        assert asking.is_alive() and not answers
    asking.join(20)
    [answer] = answers
    assert [(size.memory_mib, seconds) for size, seconds in answer.items()] == [(128, 10), (256, 20)]


def test_changes_at_the_same_time_get_numbers_of_their_own(admin: User, node: Node) -> None:
    vm = make_vm(node, admin, "web1")
    note(vm, 128)
    together = threading.Barrier(4)
    failed: list[Exception] = []

    def change(memory_mib: int) -> None:
        together.wait(10)
        try:
            note(vm, memory_mib)
        except Exception as error:
            failed.append(error)
        connection.close()

    threads = [threading.Thread(target=change, args=(256 + number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
    assert [entry.sequence for entry in entries(vm.pk)] == [1, 2, 3, 4, 5]
    assert not list(differing())


def test_nothing_in_the_ledger_is_changed(admin: User, node: Node) -> None:
    note(make_vm(node, admin, "web1"), 128)
    with pytest.raises(TypeError):
        Entry.objects.update(memory_mib=1)
    with pytest.raises(TypeError):
        Entry.objects.all().delete()


def test_the_doctor_finds_a_vm_that_the_ledger_has_otherwise(admin: User, node: Node, image: Image) -> None:
    raw = {"name": "web1", "image": "small", "flavor": "tiny"}
    vm_id = int(run_task(registry.get("vm.create").submit(admin, raw)).object_id or 0)
    assert look() == set()
    Vm.objects.filter(pk=vm_id).update(memory_mib=1024)
    assert {(finding.code, finding.object) for finding in look()} == {("usage_differs", f"vm {vm_id}")}


def test_the_doctor_finds_a_vm_that_is_gone_and_still_counted(admin: User, node: Node) -> None:
    vm = make_vm(node, admin, "web1")
    note(vm, 128)
    vm_id = vm.pk
    vm.delete()
    assert list(differing()) == [vm_id]


def note(vm: Vm, memory_mib: int) -> None:
    """Change the VM's memory, and note it."""
    with transaction.atomic():
        Vm.objects.filter(pk=vm.pk).update(memory_mib=memory_mib)
        note_shape(vm.pk)


def test_the_clock_is_the_databases() -> None:
    assert ledger.read_clock().now == NOON
