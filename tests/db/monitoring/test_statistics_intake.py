"""Counters that nodes collect become rows of what was added."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.monitoring import services
from panel.monitoring.models import VmTraffic, VmUsage, WaitingStatistics
from panel.monitoring.statistics.waiting import drop_old, take_waiting
from panel.vms.models import Vm
from tests.db.conftest import make_node
from tests.db.monitoring.counting import NOW, collected, counted, rows, take
from tests.db.monitoring.messages import make_vm
from vmwatch import wire


class TestIntake:
    """Counters become differences."""

    def test_through_the_door_of_vmwatch(self, vm: Vm) -> None:
        for sequence, value in ((1, 100), (2, 350)):
            services.take_messages([collected(vm, sequence, value)] * 2, [600.0 - sequence, 600.0])
        assert take_waiting() == 2
        assert VmUsage.objects.filter(vm_id=vm.pk).aggregate(Sum("rx_bytes"), Sum("write_requests")) == {
            "rx_bytes__sum": 250,
            "write_requests__sum": 250,
        }

    def test_while_they_wait_they_keep_their_time(self, vm: Vm) -> None:
        services.take_messages([collected(vm, 1, 100)], [7200.0])
        assert not VmUsage.objects.exists()
        take_waiting()
        assert abs(rows(vm)[0][0] - timezone.now() + timedelta(hours=2)) < timedelta(minutes=11)

    def test_a_message_that_breaks_holds_up_no_other(self, vm: Vm) -> None:
        services.take_messages([collected(vm, number, number * 10) for number in (1, 2, 3)])
        too_much = wire.to_body(collected(vm, 2, 2**63 - 1))
        second = WaitingStatistics.objects.order_by("pk")[1].pk
        WaitingStatistics.objects.filter(pk=second).update(body=too_much)
        VmTraffic.objects.create(vm_id=vm.pk, month=timezone.now().date().replace(day=1), rx_bytes=2**62)
        assert take_waiting() == 3
        assert sum(row[2] for row in rows(vm)) == 20

    def test_two_workers_do_not_take_them_out_of_their_order(self, vm: Vm) -> None:
        services.take_messages([collected(vm, 1, 100)])
        found: list[int] = []

        def take_too() -> None:
            found.append(take_waiting())
            connection.close()

        with transaction.atomic():
            list(WaitingStatistics.objects.select_for_update())
            other = threading.Thread(target=take_too)
            other.start()
            other.join(10)
        assert found == [0]
        assert take_waiting() == 1

    def test_what_nobody_took_for_a_day_is_dropped(self, vm: Vm) -> None:
        services.take_messages([collected(vm, 1, 100), collected(vm, 2, 200)], [90_000.0, 3600.0])
        drop_old()
        assert WaitingStatistics.objects.count() == 1

    def test_a_row_has_what_was_added_in_its_ten_minutes(self, vm: Vm) -> None:
        for minutes, value in ((0, 100), (10, 150), (20, 400)):
            take(NOW + timedelta(minutes=minutes), counted(vm, value), node=vm.node)
        assert rows(vm) == [
            (NOW, 0, 0),
            (NOW + timedelta(minutes=10), 600, 50),
            (NOW + timedelta(minutes=20), 600, 250),
        ]
        assert VmUsage.objects.filter(vm_id=vm.pk).last().memory_kib == 131072

    @pytest.mark.parametrize(("value", "run"), [(30, 2), (500, 2), (30, 1)])
    def test_a_domain_that_was_started_anew_counts_from_nought(self, vm: Vm, value: int, run: int) -> None:
        take(NOW, counted(vm, 100), node=vm.node)
        take(NOW + timedelta(minutes=10), counted(vm, value, run), node=vm.node)
        assert rows(vm)[-1][2] == value

    def test_a_young_vms_first_counters_are_its_own(self, vm: Vm) -> None:
        Vm.objects.filter(pk=vm.pk).update(created_at=NOW - timedelta(minutes=5))
        take(NOW, counted(vm, 77), node=vm.node)
        assert rows(vm) == [(NOW, 0, 77)]

    def test_what_could_not_be_read_is_counted_with_the_next_collection(self, vm: Vm) -> None:
        for minutes, value in ((0, 100), (20, 400)):
            take(NOW + timedelta(minutes=minutes), counted(vm, value), node=vm.node)
            unread = wire.DomainStatistics(str(vm.uuid), 1, None, None, None)
            take(NOW + timedelta(minutes=minutes + 10), unread, node=vm.node)
        assert [row[2] for row in rows(vm)] == [0, 0, 300, 0]
        assert {row.memory_kib for row in VmUsage.objects.filter(vm_id=vm.pk)} == {131072}

    def test_a_disk_or_interface_that_is_removed_takes_nothing_back_and_a_new_one_counts_from_nought(
        self, vm: Vm
    ) -> None:
        both, one = counted(vm, 1000), counted(vm, 1500)
        assert both.disks is not None and both.interfaces is not None
        both.disks.append(wire.DiskStatistics("vdb", 5000, 5000, 5000, 5000))
        both.interfaces.append(wire.InterfaceStatistics("vnet1", 9000, 9000, 9000, 9000))
        again = counted(vm, 1500)
        assert again.interfaces is not None
        again.interfaces.append(wire.InterfaceStatistics("vnet2", 70, 7, 70, 7))
        for minutes, found in enumerate((both, one, again)):
            take(NOW + timedelta(minutes=10 * minutes), found, node=vm.node)
        assert [row[2] for row in rows(vm)] == [0, 500, 70]
        assert [row.write_bytes for row in VmUsage.objects.filter(vm_id=vm.pk).order_by("at")] == [0, 500, 0]

    def test_what_others_have_overtaken_counts_unless_newer_is_known(self, vm: Vm, user: User) -> None:
        other = make_vm(vm.node, user, "web2")
        Vm.objects.filter(pk=other.pk).update(created_at=timezone.now())
        late = replace(collected(vm, 2, 200), statistics=[counted(vm, 200), counted(other, 50)])
        services.take_messages([collected(vm, 1, 100), collected(vm, 3, 300)], [600.0, 0.0])
        services.take_messages([late], [0.0])
        take_waiting()
        assert sum(row[2] for row in rows(vm)) == 200
        assert [row[2] for row in rows(other)] == [50]

    def test_a_domain_that_was_off_for_a_week_is_not_counted_over_a_week(self, vm: Vm) -> None:
        take(NOW, counted(vm, 100), node=vm.node)
        take(NOW + timedelta(days=7), counted(vm, 30, run=2), node=vm.node)
        assert rows(vm)[-1][1:] == (600, 30)

    def test_a_collection_from_before_the_rows_that_are_kept_changes_nothing(self, vm: Vm) -> None:
        take(NOW, counted(vm, 100), node=vm.node, now=NOW + timedelta(days=9))
        assert rows(vm) == []

    def test_an_older_collection_changes_nothing(self, vm: Vm) -> None:
        take(NOW, counted(vm, 100), node=vm.node)
        take(NOW - timedelta(minutes=10), counted(vm, 50), node=vm.node)
        assert rows(vm) == [(NOW, 0, 0)]

    def test_another_nodes_copy_is_not_counted(self, vm: Vm) -> None:
        take(NOW, counted(vm, 100), node=make_node("fake2"))
        assert rows(vm) == []

    def test_thirty_vms_cost_as_many_queries_as_three(self, node: Node, user: User) -> None:
        vms = [make_vm(node, user, f"vm{number}") for number in range(30)]
        take(NOW, *(counted(vm, 1) for vm in vms), node=node)
        counts = []
        for number, size in enumerate((3, 30), start=1):
            with CaptureQueriesContext(connection) as queries:
                take(NOW + number * timedelta(minutes=10), *(counted(vm, number) for vm in vms[:size]), node=node)
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 10

    def test_traffic_is_counted_by_month_and_what_spans_two_is_shared_by_its_time(self, vm: Vm) -> None:
        for minutes, value in ((-20, 0), (-10, 40), (40, 90)):
            take(NOW + timedelta(minutes=minutes), counted(vm, value, rx_bytes=2 * value), node=vm.node)
        months = VmTraffic.objects.filter(vm_id=vm.pk).order_by("month").values_list("month", "rx_bytes", "tx_bytes")
        assert [(f"{month:%Y-%m}", rx, tx) for month, rx, tx in months] == [("2026-03", 120, 60), ("2026-04", 60, 30)]
