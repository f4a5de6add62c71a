"""What becomes of the counters that nodes collect."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.monitoring import services
from panel.monitoring.models import RolledUp, Step, VmCounters, VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.monitoring.statistics import intake, rollup
from panel.vms.models import StatusChange, Vm, VmStatus
from tests.db.conftest import make_node
from tests.db.monitoring.messages import EPOCH, event, make_vm
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


def take(at: datetime, *found: wire.DomainStatistics, node: Node) -> None:
    """Take a collection in that left the node at that time."""
    message = wire.Message(node.pk, EPOCH, 1, time.time(), wire.STATISTICS, statistics=list(found))
    intake.take([(message, at)], {node.pk: node})


def rows(vm: Vm, step: int = Step.TEN_MINUTES) -> list[tuple[datetime, int, int]]:
    """Time, seconds and received bytes of the VM's rows."""
    found = VmUsage.objects.filter(vm_id=vm.pk, step=step).order_by("at")
    return list(found.values_list("at", "seconds", "rx_bytes"))


class TestIntake:
    """Counters become differences."""

    def test_through_the_door_of_vmwatch(self, vm: Vm) -> None:
        for sequence, value in ((1, 100), (2, 350)):
            found = [counted(vm, value)]
            message = wire.Message(vm.node_id, EPOCH, sequence, time.time(), wire.STATISTICS, statistics=found)
            services.take_messages([message, message], [600.0 - sequence, 600.0])
        assert VmUsage.objects.filter(vm_id=vm.pk).aggregate(Sum("rx_bytes"), Sum("write_requests")) == {
            "rx_bytes__sum": 250,
            "write_requests__sum": 250,
        }

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

    def test_traffic_is_counted_by_month(self, vm: Vm) -> None:
        for minutes, value in ((-20, 0), (-10, 40), (20, 100)):
            take(NOW + timedelta(minutes=minutes), counted(vm, value, rx_bytes=2 * value), node=vm.node)
        months = VmTraffic.objects.filter(vm_id=vm.pk).order_by("month").values_list("month", "rx_bytes", "tx_bytes")
        assert [(f"{month:%Y-%m}", rx, tx) for month, rx, tx in months] == [("2026-03", 80, 40), ("2026-04", 120, 60)]


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
        take(NOW + timedelta(minutes=20), counted(other, 9), node=vm.node)
        assert RolledUp.objects.get(step=Step.HOUR).until < later - timedelta(days=1)
        rollup.roll_up(later)
        assert [row[2] for row in rows(other, Step.HOUR)] == [9]
        assert [row[2] for row in rows(other, Step.DAY)] == [9]

    def test_what_is_too_old_goes_and_traffic_stays(self, vm: Vm) -> None:
        for days in (400, 100, 8, 1):
            at = timezone.now() - timedelta(days=days)
            for step in Step:
                VmUsage.objects.create(vm_id=vm.pk, step=step, at=at)
        take(timezone.now(), counted(vm, 1), node=vm.node)
        rollup.purge()
        left = {step.label: VmUsage.objects.filter(vm_id=vm.pk, step=step).count() for step in Step}
        assert left == {"10m": 2, "hour": 2, "day": 4}
        assert VmTraffic.objects.count() == 1

    def test_a_deleted_vms_rows_go_with_the_next_purge(self, vm: Vm) -> None:
        take(timezone.now(), counted(vm, 1), node=vm.node)
        pk = vm.pk
        vm.delete()
        rollup.purge()
        assert not VmUsage.objects.filter(vm_id=pk).exists()
        assert not VmCounters.objects.filter(vm_id=pk).exists()
        assert VmTraffic.objects.filter(vm_id=pk).exists()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans(), st.booleans()), max_size=40))
def test_however_it_is_restarted_and_whatever_is_lost_the_differences_add_up(
    steps: list[tuple[int, bool, bool]],
) -> None:
    """Each step: what is added, whether the domain is started anew before it, whether its message is lost."""
    run, value, told, lost = 1, 0, 0, 0
    before: VmCounters | None = None
    unheard = 0
    for number, (more, anew, is_lost) in enumerate(steps):
        if anew:
            # What a run did after its last collection dies with it: nobody could have read it.
            lost += unheard
            run, value, unheard = run + 1, 0, 0
        value += more
        unheard += more
        if is_lost:
            continue
        now = VmCounters(vm_id=1, node_id=1, run=run, at=NOW + number * timedelta(minutes=10))
        for name in COUNTERS:
            setattr(now, name, value)
        told += intake.added(before, now, young=True)["rx_bytes"]
        before, unheard = now, 0
    assert told == sum(more for more, _, _ in steps) - lost - unheard


class TestReading:
    """The API."""

    def test_a_series_and_the_months(self, api: APIClient, vm: Vm) -> None:
        start = intake.slot(timezone.now()) - timedelta(hours=1)
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
        ],
    )
    def test_what_cannot_be_answered_is_refused_naming_the_field(
        self, api: APIClient, vm: Vm, query: dict[str, str], field: str
    ) -> None:
        answer = api.get(f"/api/v1/vms/{vm.pk}/statistics", query)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_value", field)

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
        answer = api.patch("/api/v1/cluster", {"no_such": 1}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, "no_such")
