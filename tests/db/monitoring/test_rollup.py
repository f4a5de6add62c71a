"""Hours from ten minutes, days from hours, and the end of what is too old."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from panel.accounts.models import User
from panel.monitoring.models import RolledUp, Step, VmCounters, VmTraffic, VmUsage
from panel.monitoring.models.statistics import slot
from panel.monitoring.statistics import rollup
from panel.vms.models import Vm
from tests.db.at_once import waits_for_a_lock
from tests.db.monitoring.counting import NOW, counted, rows, take
from tests.db.monitoring.messages import make_vm
from tests.stack import wait_until


class TestRollUp:
    """Hours, days, and the end."""

    def fill(self, vm: Vm, collections: int) -> None:
        chance = random.Random(7)
        value = 0
        for number in range(collections):
            take(NOW + number * timedelta(minutes=10), counted(vm, value), node=vm.node)
            value += chance.randrange(1000)

    def test_sums_are_kept_and_a_second_time_changes_nothing(self, vm: Vm) -> None:
        self.fill(vm, 6 * 50)
        later = NOW + timedelta(days=4)
        fine = [sum(row[column] for row in rows(vm)) for column in (1, 2)]
        for _ in range(2):
            rollup.roll_up(later)
            for step in (Step.HOUR, Step.DAY):
                assert [sum(row[column] for row in rows(vm, step)) for column in (1, 2)] == fine
        assert len(rows(vm, Step.DAY)) == 4
        assert len(rows(vm, Step.HOUR)) == 51
        assert VmUsage.objects.filter(vm_id=vm.pk, step=Step.HOUR).first().memory_kib == 131072

    def test_an_hour_that_is_not_over_is_not_made(self, vm: Vm) -> None:
        self.fill(vm, 6)
        rollup.roll_up(NOW + timedelta(minutes=40))
        assert [at for at, _, _ in rows(vm, Step.HOUR)] == [NOW - timedelta(minutes=50)]

    def test_what_comes_late_is_added_up_again(self, vm: Vm, user: User) -> None:
        self.fill(vm, 12)
        later = NOW + timedelta(days=2)
        rollup.roll_up(later)
        other = make_vm(vm.node, user, "web2")
        Vm.objects.filter(pk=other.pk).update(created_at=NOW)
        take(NOW + timedelta(minutes=20), counted(other, 9), node=vm.node, now=later)
        assert RolledUp.objects.get(step=Step.HOUR).until < later - timedelta(days=1)
        rollup.roll_up(later)
        assert [row[2] for row in rows(other, Step.HOUR)] == [9]
        assert [row[2] for row in rows(other, Step.DAY)] == [9]

    def test_a_day_waits_for_its_hours(self, vm: Vm) -> None:
        self.fill(vm, 6 * 30)
        rollup._begin(Step.HOUR, Step.TEN_MINUTES)
        rollup._roll_next(Step.HOUR, Step.TEN_MINUTES, NOW + timedelta(days=3))
        rollup._begin(Step.DAY, Step.HOUR)
        made = [rollup._roll_next(Step.DAY, Step.HOUR, NOW + timedelta(days=3)) for _ in range(2)]
        assert made == [True, False]
        assert [at for at, _, _ in rows(vm, Step.DAY)] == [slot(NOW, Step.DAY)]

    def test_an_hour_is_made_only_when_its_last_messages_had_time_to_be_taken_in(self, vm: Vm) -> None:
        take(NOW, counted(vm, 1), node=vm.node)
        over = slot(NOW, Step.HOUR) + timedelta(hours=1)
        rollup.roll_up(over + timedelta(seconds=119))
        assert rows(vm, Step.HOUR) == []
        rollup.roll_up(over + timedelta(seconds=120))
        assert len(rows(vm, Step.HOUR)) == 1

    def test_what_comes_while_its_hour_is_made_is_added_up_again(self, vm: Vm) -> None:
        take(NOW, counted(vm, 100), node=vm.node)
        later = NOW + timedelta(hours=5)
        roll = rollup._roll

        def come_late() -> None:
            take(NOW + timedelta(minutes=5), counted(vm, 160), node=vm.node, now=later)
            connection.close()

        waiting = threading.Thread(target=come_late)

        def while_it_is_made(*args: Any) -> None:
            roll(*args)
            if not waiting.ident:
                waiting.start()
                wait_until(waits_for_a_lock, "the late message waits")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollup, "_roll", while_it_is_made)
            rollup.roll_up(later)
        waiting.join()
        rollup.roll_up(later)
        assert [row[2] for row in rows(vm, Step.HOUR)] == [60]

    def test_what_is_too_old_goes_by_whole_days_and_traffic_stays(self, vm: Vm) -> None:
        now = timezone.now()
        today = slot(now, Step.DAY)
        for days in (400, 100, 8, 7, 1):
            for step in Step:
                VmUsage.objects.create(vm_id=vm.pk, step=step, at=today - timedelta(days=days))
        RolledUp.objects.bulk_create([RolledUp(step=step, until=today) for step in (Step.HOUR, Step.DAY)])
        take(now, counted(vm, 1), node=vm.node)
        rollup.purge(now)
        left = {step.label: VmUsage.objects.filter(vm_id=vm.pk, step=step).count() for step in Step}
        assert left == {"10m": 3, "hour": 3, "day": 5}
        assert VmTraffic.objects.count() == 1

    def test_what_was_not_added_up_yet_stays_however_old_it_is(self, vm: Vm) -> None:
        self.fill(vm, 6 * 30)
        rollup.purge(NOW + timedelta(days=300))
        assert len(rows(vm)) == 6 * 30
        rollup.roll_up(NOW + timedelta(days=1))
        rollup.purge(NOW + timedelta(days=300))
        fine, hours = rows(vm), rows(vm, Step.HOUR)
        assert fine[0][0] == NOW + timedelta(days=1) - timedelta(minutes=50)
        assert hours[0][0] == slot(NOW, Step.DAY) + timedelta(days=1)
        assert len(rows(vm, Step.DAY)) == 1

    def test_a_deleted_vms_rows_go_with_the_next_purge(self, vm: Vm) -> None:
        take(timezone.now(), counted(vm, 1), node=vm.node)
        pk = vm.pk
        vm.delete()
        rollup.purge()
        assert not VmUsage.objects.filter(vm_id=pk).exists()
        assert not VmCounters.objects.filter(vm_id=pk).exists()
        assert VmTraffic.objects.filter(vm_id=pk).exists()
