"""What a task read and what vmwatch says of a VM, in whatever order both arrive: the newest decides."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from panel.accounts.models import User
from panel.core import live
from panel.monitoring import causes, services
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.vms.services import record_task_reading
from tests.db.monitoring.messages import EPOCH, event, full_report, history, status_of, told
from vmwatch import wire

BOOT = "0a1b2c3d-0000-4000-8000-000000000001"
NOW = 5000.0
"""The node's clock as the task's command begins."""


@pytest.fixture(autouse=True)
def known(vm: Vm) -> None:
    """It was seen running a while ago."""
    Vm.objects.filter(pk=vm.pk).update(observed_at=timezone.now() - timedelta(seconds=60))


def seen(vm: Vm, state: str, sequence: int, clock: float, detail: str = "", boot: str = BOOT) -> wire.Message:
    """An event that happened then by the node's clock, and is on its way a tenth of a second."""
    message = event(vm, state, sequence, detail=detail)
    [domain] = message.domains
    return dataclasses.replace(message, clock=clock + 0.1, boot=boot, domains=[dataclasses.replace(domain, age=0.1)])


def looked(vm: Vm, state: str, sequence: int, clock: float) -> wire.Message:
    """A full report that was made then, and told when libvirt had nothing more to say of it."""
    return dataclasses.replace(
        full_report(vm.node, [told(vm, state)], sequence), clock=clock + 0.06, age=0.06, boot=BOOT
    )


def reading(vm: Vm, state: str, clock: float, boot: str = BOOT) -> None:
    """What a task's command answered, which was sent a second ago."""
    sent_at = timezone.now() - timedelta(seconds=1)
    record_task_reading(vm.pk, state, sent_at=sent_at, node=vm.node, task_id=7, clock=clock, boot=boot)


def work(vm: Vm, operation: str, **fields: Any) -> Task:
    """A task of the VM that is at work."""
    given = {"status": Status.RUNNING, "started_at": timezone.now() - timedelta(seconds=5), **fields}
    return Task.objects.create(operation=operation, title=operation, object_type="vm", object_id=vm.pk, **given)


PAUSE = {
    # As the guest was resumed before, its pause, and what the command's answer and a full report say of it.
    "resumed": lambda vm: services.take_messages([seen(vm, wire.RUNNING, 1, NOW - 0.2)]),
    "suspended": lambda vm: services.take_messages([seen(vm, wire.PAUSED, 2, NOW + 0.1)]),
    "full report": lambda vm: services.take_messages([looked(vm, wire.RUNNING, 3, NOW)]),
    "read": lambda vm: reading(vm, VmStatus.PAUSED, NOW + 0.2),
}


@pytest.mark.parametrize(
    "order", [each for each in itertools.permutations(PAUSE) if each.index("read") < 3], ids="-".join
)
def test_once_a_task_has_read_it_nothing_older_shows_in_whatever_order_it_comes(vm: Vm, order: tuple[str, ...]) -> None:
    after_read: list[str] = []
    for what in order:
        PAUSE[what](vm)
        if "read" in order[: order.index(what) + 1]:
            after_read.append(status_of(vm))
    assert after_read == [VmStatus.PAUSED] * len(after_read)


def test_the_history_has_libvirts_words_before_what_the_task_read_though_they_came_after_it(vm: Vm) -> None:
    services.take_messages([seen(vm, wire.RUNNING, 1, NOW - 20)])
    task = work(vm, "vm.restart")
    reading(vm, VmStatus.RUNNING, NOW + 3)
    services.take_messages([seen(vm, wire.SHUT_OFF, 2, NOW + 1, "stopped:shutdown")])
    services.take_messages([seen(vm, wire.RUNNING, 3, NOW + 2, "started:booted")])
    rows = [(row.status, row.detail, row.task_id) for row in StatusChange.objects.filter(repeated=False).order_by("at")]
    assert rows[-2:] == [(wire.SHUT_OFF, "stopped:shutdown", task.pk), (wire.RUNNING, "started:booted", task.pk)]
    assert status_of(vm) == VmStatus.RUNNING


@pytest.mark.parametrize("first", ["event", "reading"])
def test_what_happened_after_the_task_looked_wins_though_it_seems_to_have_been_sent_before(vm: Vm, first: str) -> None:
    def crash() -> None:
        services.take_messages([seen(vm, wire.CRASHED, 1, NOW + 0.3)])

    def read() -> None:
        reading(vm, VmStatus.RUNNING, NOW + 0.2)

    for act in (crash, read) if first == "event" else (read, crash):
        act()
    assert status_of(vm) == VmStatus.CRASHED


def test_a_clock_of_another_start_of_the_node_says_nothing(vm: Vm) -> None:
    reading(vm, VmStatus.PAUSED, NOW)
    services.take_messages([seen(vm, wire.RUNNING, 1, 12.0, boot="another")])
    assert status_of(vm) == VmStatus.RUNNING
    reading(vm, VmStatus.PAUSED, NOW)
    assert status_of(vm) == VmStatus.RUNNING


def test_a_daemon_that_does_not_tell_its_clock_is_ordered_by_the_panels(vm: Vm) -> None:
    record_task_reading(
        vm.pk,
        VmStatus.PAUSED,
        sent_at=timezone.now() + timedelta(seconds=9),
        node=vm.node,
        task_id=7,
        clock=NOW,
        boot=BOOT,
    )
    services.take_messages([event(vm, wire.RUNNING, 1)])
    assert status_of(vm) == VmStatus.PAUSED


def test_every_word_of_a_vm_bears_its_order_which_only_grows(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Any] = []
    monkeypatch.setattr(live, "publish_many", lambda topic, many: published.extend(many))
    for act in (PAUSE["resumed"], PAUSE["read"], PAUSE["suspended"]):
        act(vm)
    services.take_messages([seen(vm, wire.RUNNING, 5, NOW + 1), seen(vm, wire.SHUT_OFF, 6, NOW + 2)])
    orders = [each["order"] for each in published]
    assert len(orders) >= 2 and orders == sorted(orders)
    assert Vm.objects.get(pk=vm.pk).order == orders[-1]


def test_pages_bear_it_too(vm: Vm, admin: User, client: Client) -> None:
    PAUSE["suspended"](vm)
    client.force_login(admin)
    order = Vm.objects.get(pk=vm.pk).order
    for page in ("/vms", f"/vms/{vm.pk}", f"/vms/{vm.pk}/devices", f"/nodes/{vm.node_id}"):
        assert f'data-order="{order}"' in client.get(page).content.decode(), page


class TestCauses:
    """Who brought it about."""

    def test_what_a_snapshot_did_is_its_own_though_its_word_comes_when_it_has_ended(self, vm: Vm) -> None:
        task = work(vm, "vm.snapshot", status=Status.DONE, finished_at=timezone.now())
        services.take_messages(
            [seen(vm, wire.PAUSED, 1, NOW, "suspended:paused"), seen(vm, wire.RUNNING, 2, NOW + 1, "resumed:unpaused")]
        )
        assert history(vm) == [(wire.PAUSED, Cause.TASK), (wire.RUNNING, Cause.TASK)]
        assert set(StatusChange.objects.values_list("task_id", flat=True)) == {task.pk}

    @pytest.mark.parametrize(
        ("operation", "fields"),
        [
            ("vm.stop", {"status": Status.QUEUED, "started_at": None}),
            ("vm.stop", {"status": Status.DONE, "finished_at": timezone.now() - timedelta(seconds=30)}),
            ("vm.change-owner", {}),
            ("vm.configure", {}),
        ],
    )
    def test_a_task_that_cannot_have_done_it_did_not(self, vm: Vm, operation: str, fields: dict[str, Any]) -> None:
        work(vm, operation, **fields)
        services.take_messages([seen(vm, wire.SHUT_OFF, 1, NOW)])
        assert history(vm) == [(wire.SHUT_OFF, Cause.OUTSIDE)]

    def test_what_follows_a_tasks_last_look_is_not_its_own_once_it_has_ended(self, vm: Vm) -> None:
        reading(vm, VmStatus.RUNNING, NOW)
        work(vm, "vm.start", status=Status.DONE, finished_at=timezone.now() - timedelta(seconds=0.5))
        services.take_messages([seen(vm, wire.SHUT_OFF, 1, NOW + 0.4, "stopped:destroyed")])
        assert history(vm)[-1] == (wire.SHUT_OFF, Cause.OUTSIDE)

    def test_of_two_tasks_it_is_the_one_of_that_time(self, vm: Vm) -> None:
        ago = lambda seconds: timezone.now() - timedelta(seconds=seconds)  # noqa: E731
        first = work(vm, "vm.snapshot", status=Status.DONE, started_at=ago(40), finished_at=ago(20))
        second = work(vm, "vm.force-off", started_at=ago(10))
        late = seen(vm, wire.PAUSED, 1, NOW - 30)
        late = dataclasses.replace(late, domains=[dataclasses.replace(late.domains[0], age=30.0)])
        services.take_messages([late, seen(vm, wire.SHUT_OFF, 2, NOW)])
        assert [row.task_id for row in StatusChange.objects.order_by("at")] == [first.pk, second.pk]

    def test_what_was_told_a_minute_later_again_is_the_tasks_still(self, vm: Vm) -> None:
        ended = timezone.now() - timedelta(seconds=60)
        task = work(vm, "vm.stop", status=Status.DONE, started_at=ended - timedelta(seconds=5), finished_at=ended)
        # Number 1 was lost on its way.
        again = wire.PastEvent(EPOCH, 1, dataclasses.replace(told(vm, wire.SHUT_OFF), age=61.0))
        services.take_messages([dataclasses.replace(looked(vm, wire.SHUT_OFF, 2, NOW), recent=[again])])
        assert [row.task_id for row in StatusChange.objects.filter(repeated=False)] == [task.pk]

    def test_quiet_operations_are_operations(self) -> None:
        assert {registry.get(name).name for name in causes.QUIET} == causes.QUIET
