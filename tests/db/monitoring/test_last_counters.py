"""What a domain had counted when it ended: by a task, by hand, by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from django.db.models import Sum
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.images.models import Image
from panel.monitoring import services
from panel.monitoring.models import Unread, VmCounters, VmTraffic
from panel.monitoring.statistics.periods import Traffic, traffic_of
from panel.monitoring.statistics.unread import unread
from panel.monitoring.statistics.waiting import take_waiting
from panel.tasks import registry
from panel.tasks.models import Status
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from tests.db.api.test_usage import entry
from tests.db.conftest import run_task
from tests.db.monitoring.counting import counted, take
from tests.db.monitoring.messages import event
from tests.db.tasks.scenarios import SCENARIOS, ask_create
from vmwatch import wire

SENT = 2_900_000
ENDING = [
    *("vm.stop", "vm.force-off", "vm.restart", "vm.suspend", "vm.delete"),
    *("vm.rescue", "vm.end-rescue", "vm.reinstall", "vm.migrate", "vm.revert-snapshot"),
]


def sent() -> int:
    """What all VMs sent, as it is billed."""
    return VmTraffic.objects.aggregate(all=Sum("tx_bytes"))["all"] or 0


def gaps(vm: Vm) -> list[tuple[datetime, datetime]]:
    """When the VM ran and was not read, as it is told in a while."""
    now = timezone.now() + timedelta(minutes=5)
    return unread([vm.pk], vm.created_at, now, now).get(vm.pk, [])


@pytest.fixture
def running(admin: User, node: Node, image: Image) -> Vm:
    """A VM that runs and has sent something since it was started."""
    vm = Vm.objects.get(pk=run_task(ask_create(admin)).object_id)
    fake.node(node.pk).domains[str(vm.uuid)].sent = SENT
    return vm


@pytest.mark.parametrize("name", ENDING)
def test_what_a_domain_sent_is_counted_whatever_ends_it(admin: User, node: Node, image: Image, name: str) -> None:
    ask = SCENARIOS[name](admin, node)
    [vm] = Vm.objects.all()
    before = sent()
    fake.node(node.pk).domains[str(vm.uuid)].sent = SENT
    task = run_task(ask())
    assert task.status == Status.DONE, task.error
    assert sent() - before == SENT
    assert not Unread.objects.exists()
    now = Vm.objects.filter(pk=vm.pk).first()
    if now is not None and now.status == VmStatus.SHUT_OFF:
        assert gaps(now) == []


def test_a_domain_is_counted_once_whoever_tells_of_its_end(running: Vm, admin: User, node: Node) -> None:
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=running.pk))
    assert (sent(), gaps(running)) == (SENT, [])
    # What vmwatch-node read shortly before, and a collection that waited: both of the same run.
    run = VmCounters.objects.get().run
    ended = event(running, wire.SHUT_OFF, 5, detail="stopped:destroyed")
    late = replace(ended, statistics=[counted(running, SENT - 100, run)], age=3.0)
    services.take_messages([late])
    assert take_waiting() == 1
    assert (sent(), gaps(running)) == (SENT, [])


@pytest.mark.parametrize("still", [True, False])
def test_what_ended_by_itself_is_not_known_between_its_last_reading_and_its_end(
    running: Vm, node: Node, still: bool
) -> None:
    ended = event(running, wire.SHUT_OFF, 1, detail="stopped:shutdown")
    message = replace(ended, statistics=[counted(running, SENT)], age=4.0, final=still)
    before = timezone.now() - timedelta(minutes=2)
    Vm.objects.update(created_at=before, observed_at=before)
    StatusChange.objects.update(at=before + timedelta(seconds=1))
    running.refresh_from_db()
    services.take_messages([message])
    # Until it is taken in nobody is told that it never will be.
    now = timezone.now()
    assert [end for _, end in unread([running.pk], running.created_at, now, now)[running.pk]] == [now]
    take_waiting()
    assert sent() == SENT
    found = gaps(running)
    if still:
        assert found == []
    else:
        [(begin, end)] = found
        assert timedelta(seconds=3.5) < end - begin < timedelta(seconds=6)


def test_an_interface_that_was_gone_before_its_domain_is_not_known_to_the_end(running: Vm, node: Node) -> None:
    gone = replace(counted(running, SENT), interfaces=[wire.InterfaceStatistics("vnet0", None, None, None, None)])
    ended = event(running, wire.SHUT_OFF, 1, detail="stopped:shutdown")
    services.take_messages([replace(ended, statistics=[gone], age=0.1, final=True)])
    take_waiting()
    assert not VmCounters.objects.get().closed


def test_a_guest_that_goes_down_is_read_as_near_as_can_be(running: Vm, admin: User, node: Node) -> None:
    fake.node(node.pk).domains[str(running.uuid)].still = False
    run_task(registry.get("vm.stop").submit(admin, {}, object_id=running.pk))
    [(begin, end)] = gaps(running)
    assert sent() == SENT and end - begin < timedelta(seconds=2)


def test_a_run_after_a_start_of_the_node_is_another_though_its_number_is_the_same(vm: Vm) -> None:
    at = datetime(2026, 3, 31, 12, tzinfo=UTC)
    for minutes, boot, value in ((0, "first", 1000), (10, "first", 1500), (20, "second", 1700)):
        take(at + timedelta(minutes=minutes), counted(vm, value), node=vm.node, boot=boot, clock=minutes + 1.0)
    assert sent() == 500 + 1700
    # Read before the last, and told after it.
    take(at + timedelta(minutes=21), counted(vm, 1600), node=vm.node, boot="second", clock=20.5)
    assert sent() == 500 + 1700


def test_traffic_is_complete_when_nothing_can_be_added_to_it(vm: Vm, api: APIClient) -> None:
    """The row of ten minutes that a period ends in must be over and read, and everything taken in."""
    now = timezone.now().replace(microsecond=0)
    begin = now.replace(minute=0, second=0) - timedelta(hours=5)
    Vm.objects.update(created_at=begin, status=VmStatus.RUNNING)
    entry(vm, begin)

    def complete(until: datetime) -> bool | None:
        told = api.get(f"/api/v1/vms/{vm.pk}/usage", {"from": begin.isoformat(), "to": until.isoformat()})
        return cast("bool | None", told.json()["traffic"]["complete"])

    middle = begin + timedelta(hours=2, minutes=3)
    for minutes, value in ((0, 0), (124, 100)):
        take(begin + timedelta(minutes=minutes), counted(vm, value), node=vm.node)
    assert complete(middle) is None
    take(begin + timedelta(minutes=131), counted(vm, 300), node=vm.node)
    assert complete(middle) is True
    Vm.objects.update(status=VmStatus.SHUT_OFF)
    VmCounters.objects.update(closed=True)
    # It is off, but the period is not over.
    assert (complete(now - timedelta(minutes=15)), complete(now + timedelta(days=1))) == (True, None)


def test_what_was_told_as_all_or_as_lost_is_told_the_same_for_ever(vm: Vm) -> None:
    """Periods end in the midst of a row that is read, of one whose end nobody read, and of a later run."""
    begin = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
    Vm.objects.update(created_at=begin, status=VmStatus.RUNNING)
    told: dict[int, list[Traffic]] = {5: [], 15: [], 35: []}

    def at(minutes: float) -> datetime:
        return begin + timedelta(minutes=minutes)

    def ask(*minutes: float) -> None:
        for now in minutes:
            for until, answers in told.items():
                if until <= now:
                    answers.append(traffic_of({vm.pk: [(begin, at(until))]}, (), at(until), at(now))[vm.pk])

    def become(status: str, minutes: float) -> None:
        StatusChange.objects.create(vm=vm, status=status, at=at(minutes), cause=Cause.OUTSIDE)
        Vm.objects.update(status=status)

    take(at(0), counted(vm, 0), node=vm.node)
    ask(6, 9)
    take(at(10), counted(vm, 100), node=vm.node)
    ask(10.5, 12)
    become(VmStatus.SHUT_OFF, 15.5)
    ask(16, 22)
    become(VmStatus.RUNNING, 30)
    take(at(32), counted(vm, 40, run=2), node=vm.node)
    ask(33, 36)
    take(at(42), counted(vm, 70, run=2), node=vm.node)
    ask(43, 300)
    for until, all_of_it in ((5, True), (15, False), (35, False)):
        answers = [each for each in told[until] if each.complete is not None]
        assert told[until][0].complete is None and answers[0].complete is all_of_it
        assert set(answers) == {answers[0]} == set(told[until][-len(answers) :])
