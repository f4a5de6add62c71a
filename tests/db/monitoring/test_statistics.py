"""What becomes of the counters that nodes collect."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.monitoring import services
from panel.monitoring.models import RolledUp, Step, VmCounters, VmTraffic, VmUsage, WaitingStatistics
from panel.monitoring.models.statistics import slot
from panel.monitoring.statistics import intake, rollup
from panel.monitoring.statistics.waiting import drop_old, take_waiting
from panel.vms.models import StatusChange, Vm, VmStatus
from tests.db.conftest import make_node
from tests.db.monitoring.messages import EPOCH, event, make_vm
from tests.stack import wait_until
from vmwatch import wire

NOW = datetime(2026, 3, 31, 23, 50, tzinfo=UTC)


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM that is not young."""
    vm = make_vm(node, user, "web1")
    Vm.objects.filter(pk=vm.pk).update(created_at=NOW - timedelta(days=30))
    return vm


def counted(vm: Vm, value: int, run: int = 1, **changes: int) -> wire.DomainStatistics:
    """A domain whose every counter is `value`, but for the changes."""
    disk = {name: changes.get(name, value) for name in ("read_bytes", "read_requests", "write_bytes", "write_requests")}
    net = {name: changes.get(name, value) for name in ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")}
    return wire.DomainStatistics(
        str(vm.uuid),
        run,
        changes.get("cpu_ns", value),
        131072,
        90000,
        [wire.DiskStatistics("vda", **disk)],
        [wire.InterfaceStatistics("vnet0", **net)],
    )


def take(at: datetime, *found: wire.DomainStatistics, node: Node, now: datetime | None = None) -> None:
    """Take a collection in that left the node at that time, at once unless a later time is given."""
    message = wire.Message(node.pk, EPOCH, int(at.timestamp()), time.time(), wire.STATISTICS, statistics=list(found))
    with transaction.atomic():
        intake.take([(message, at)], {node.pk: node}, now or at)


def collected(vm: Vm, sequence: int, value: int) -> wire.Message:
    """A collection's message of one VM, as it comes to the panel."""
    return wire.Message(vm.node_id, EPOCH, sequence, time.time(), wire.STATISTICS, statistics=[counted(vm, value)])


def rows(vm: Vm, step: int = Step.TEN_MINUTES) -> list[tuple[datetime, int, int]]:
    """Time, seconds and received bytes of the VM's rows."""
    found = VmUsage.objects.filter(vm_id=vm.pk, step=step).order_by("at")
    return list(found.values_list("at", "seconds", "rx_bytes"))


def waits_for_a_lock() -> bool:
    """Whether another connection is at a statement that locks, and so waits: all of them are short."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.processlist"
            " WHERE info LIKE '%%FOR UPDATE' AND time_ms > 100 AND id <> CONNECTION_ID()"
        )
        return bool(cursor.fetchone()[0])


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


class TestReading:
    """The API."""

    def test_a_series_and_the_months(self, api: APIClient, vm: Vm) -> None:
        start = slot(timezone.now()) - timedelta(hours=1)
        for number in range(4):
            take(start + number * timedelta(minutes=10), counted(vm, number * 100), node=vm.node)
        answer = api.get(f"/api/v1/vms/{vm.pk}/statistics")
        assert [row["rx_bytes"] for row in answer.json()] == [0, 100, 100, 100]
        assert answer.json()[0].keys() >= {"at", "seconds", "cpu_ns", "memory_kib", "rss_kib", "write_requests"}
        months = api.get(f"/api/v1/vms/{vm.pk}/traffic").json()
        assert sum(month["rx_bytes"] for month in months) == 300

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"step": "minute"}, "step"),
            ({"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, "from"),
            ({"from": "2026-03-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
            ({"from": "yesterday"}, "from"),
            ({"to": "2026-03-01"}, "to"),
            ({"to": "0001-01-01T00:00:00Z"}, "to"),
            ({"from": "9999-12-31T23:59:59Z"}, "from"),
        ],
    )
    def test_what_cannot_be_answered_is_refused_naming_the_field(
        self, api: APIClient, vm: Vm, query: dict[str, str], field: str
    ) -> None:
        answer = api.get(f"/api/v1/vms/{vm.pk}/statistics", query)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_value", field)

    def test_reading_costs_the_same_queries_for_one_row_as_for_hundreds(self, api: APIClient, vm: Vm) -> None:
        counts: dict[str, list[int]] = {"statistics": [], "traffic": []}
        for rows_before in (1, 300):
            start = slot(timezone.now()) - rows_before * timedelta(minutes=10)
            VmUsage.objects.bulk_create(
                [
                    VmUsage(vm_id=vm.pk, step=Step.TEN_MINUTES, at=start + number * timedelta(minutes=10))
                    for number in range(rows_before)
                ],
                ignore_conflicts=True,
            )
            months = [datetime(2000 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(rows_before)]
            VmTraffic.objects.bulk_create(
                [VmTraffic(vm_id=vm.pk, month=each) for each in months], ignore_conflicts=True
            )
            for path, found in counts.items():
                with CaptureQueriesContext(connection) as queries:
                    query = {"from": start.isoformat()} if path == "statistics" else {}
                    answer = api.get(f"/api/v1/vms/{vm.pk}/{path}", query)
                assert len(answer.json()) == min(rows_before, 120 if path == "traffic" else rows_before)
                found.append(len(queries))
        assert {path: found[0] == found[1] <= 10 for path, found in counts.items()} == {
            "statistics": True,
            "traffic": True,
        }

    def test_a_list_of_vms_costs_the_same_queries_with_counters_and_the_policy(
        self, api: APIClient, node: Node, user: User
    ) -> None:
        Cluster.objects.update(check_vm_status=True)
        counts = []
        for number in range(10):
            vm = make_vm(node, user, f"vm{number}")
            take(timezone.now(), counted(vm, 1), node=node)
            with CaptureQueriesContext(connection) as queries:
                assert len(api.get("/api/v1/vms").json()["results"]) == number + 1
            counts.append(len(queries))
        assert counts[0] == counts[-1] <= 10

    def test_anothers_are_as_absent(self, vm: Vm) -> None:
        stranger = APIClient()
        stranger.force_authenticate(User.objects.create_user("eve", "correct horse"))
        for path in ("statistics", "traffic"):
            assert stranger.get(f"/api/v1/vms/{vm.pk}/{path}").status_code == 404


class TestStatusCheck:
    """The policy that marks VMs which receive or write nothing."""

    @pytest.fixture(autouse=True)
    def policy(self, vm: Vm) -> None:
        """The check is on."""
        Cluster.objects.update(check_vm_status=True)

    def collect(self, vm: Vm, **changes: int) -> None:
        at = timezone.now()
        take(at - timedelta(minutes=10), counted(vm, 100), node=vm.node)
        take(at, counted(vm, 200, **changes), node=vm.node)

    def shown(self, api: APIClient) -> list[str]:
        [vm] = api.get("/api/v1/vms").json()["results"]
        warnings: list[str] = vm["warnings"]
        return warnings

    @pytest.mark.parametrize(("quiet", "word"), [("rx_packets", "packet"), ("write_requests", "written")])
    def test_a_running_vm_that_does_nothing_bears_a_warning_with_its_reason(
        self, api: APIClient, vm: Vm, quiet: str, word: str
    ) -> None:
        self.collect(vm, **{quiet: 100})
        [warning] = self.shown(api)
        assert word in warning
        take(timezone.now() + timedelta(minutes=10), counted(vm, 300), node=vm.node)
        assert self.shown(api) == []

    def test_a_busy_one_does_not(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm)
        assert self.shown(api) == []

    def test_nor_one_that_is_off_by_now(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm, rx_packets=100)
        Vm.objects.filter(pk=vm.pk).update(status=VmStatus.SHUT_OFF)
        assert self.shown(api) == []

    def test_nor_one_that_was_paused_for_a_part_of_the_time(self, api: APIClient, vm: Vm) -> None:
        services.take_messages([event(vm, wire.PAUSED, 1), event(vm, wire.RUNNING, 2)])
        StatusChange.objects.update(at=timezone.now() - timedelta(minutes=5))
        self.collect(vm, rx_packets=100)
        assert self.shown(api) == []

    def test_nor_one_that_was_paused_all_the_time(self, api: APIClient, vm: Vm) -> None:
        Vm.objects.filter(pk=vm.pk).update(status=VmStatus.PAUSED)
        self.collect(vm, rx_packets=100)
        Vm.objects.filter(pk=vm.pk).update(status=VmStatus.RUNNING)
        assert self.shown(api) == []

    def test_nor_one_whose_counters_could_not_be_read(self, api: APIClient, vm: Vm) -> None:
        at = timezone.now()
        take(at - timedelta(minutes=10), counted(vm, 100), node=vm.node)
        take(at, wire.DomainStatistics(str(vm.uuid), 1, 200, 131072, 90000), node=vm.node)
        assert self.shown(api) == []

    def test_nor_one_without_interfaces_for_what_it_did_not_receive(self, api: APIClient, vm: Vm) -> None:
        at = timezone.now()
        for minutes, value in ((10, 100), (0, 200)):
            found = replace(counted(vm, value), interfaces=[])
            take(at - timedelta(minutes=minutes), found, node=vm.node)
        assert self.shown(api) == []

    def test_nor_one_that_was_restarted_since(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm, rx_packets=100)
        assert len(self.shown(api)) == 1
        services.take_messages([event(vm, wire.SHUT_OFF, 1), event(vm, wire.RUNNING, 2)])
        assert self.shown(api) == []

    def test_nor_one_that_nothing_was_collected_of_for_long(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm, rx_packets=100)
        VmCounters.objects.update(at=timezone.now() - timedelta(hours=1))
        assert self.shown(api) == []

    def test_nor_one_that_moved_to_another_node(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm, rx_packets=100)
        Vm.objects.filter(pk=vm.pk).update(node=make_node("fake2"))
        assert self.shown(api) == []

    def test_nor_one_that_was_started_meanwhile(self, api: APIClient, vm: Vm) -> None:
        at = timezone.now()
        take(at - timedelta(minutes=10), counted(vm, 100), node=vm.node)
        take(at, counted(vm, 0, run=2), node=vm.node)
        assert self.shown(api) == []

    def test_nor_any_when_the_policy_is_off(self, api: APIClient, vm: Vm) -> None:
        self.collect(vm, rx_packets=100)
        assert len(self.shown(api)) == 1
        answer = api.patch("/api/v1/cluster", {"check_vm_status": False}, format="json")
        assert (answer.status_code, answer.json()["check_vm_status"]) == (200, False)
        assert self.shown(api) == []

    def test_only_administrators_set_policies_and_only_those_there_are(
        self, api: APIClient, api_as_user: APIClient
    ) -> None:
        assert api_as_user.patch("/api/v1/cluster", {"check_vm_status": False}, format="json").status_code == 403
        answer: Any = api.patch("/api/v1/cluster", {"check_vm_status": "perhaps"}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, "check_vm_status")
        answer = api.patch("/api/v1/cluster", [1], format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, "body")
        answer = api.patch("/api/v1/cluster", {"no_such": 1}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, "no_such")
