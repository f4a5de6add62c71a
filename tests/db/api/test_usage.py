"""Usage through the REST API: what billing reads, and who may read it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.monitoring.models import RolledUp, Step, VmTraffic, VmUsage
from panel.usage import ledger
from panel.usage.models import Closed, Entry
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.vms.operations.removing import forget_vm
from tests.db.monitoring.counting import counted, take
from tests.db.monitoring.messages import make_vm

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
PERIOD = {"from": MAY.isoformat(), "to": JUNE.isoformat()}
HOUR = 3600


def entry(vm: Vm, at: datetime, **changes: Any) -> Entry:
    """The VM's next entry in the ledger."""
    number = Entry.objects.filter(vm_id=vm.pk).count() + 1
    fields = {"vcpus": 2, "memory_mib": 1024, "disk_gib": 10, "addresses": 1, "owner_id": vm.owner_id} | changes
    fields["owner_name"] = User.objects.get(pk=fields["owner_id"]).name
    return Entry.objects.create(
        vm_id=vm.pk, sequence=number, at=at, uuid=vm.uuid, name=vm.name, request_id="test", **fields
    )


def take_counters(vm: Vm, at: datetime, run: int) -> None:
    """vmwatch-node collected the VM's counters."""
    take(at, counted(vm, 0, run), node=vm.node)


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A customer's VM that grew on the third day of May, and was suspended for an hour of the fifth."""
    vm = make_vm(node, user, "web1")
    entry(vm, MAY - timedelta(days=9))
    entry(vm, MAY + timedelta(days=2), memory_mib=2048)
    entry(vm, MAY + timedelta(days=4), memory_mib=2048, suspended=True)
    entry(vm, MAY + timedelta(days=4, hours=1), memory_mib=2048)
    return vm


def test_a_vms_usage_is_hours_by_size_and_its_intervals_are_the_period(vm: Vm, api: APIClient) -> None:
    told = api.get(f"/api/v1/vms/{vm.pk}/usage", PERIOD).json()
    assert (told["vm"], told["name"], told["uuid"]) == (vm.pk, "web1", str(vm.uuid))
    assert [(size["memory_mib"], size["suspended"], size["seconds"] / HOUR) for size in told["sizes"]] == [
        (1024, False, 48),
        (2048, False, 31 * 24 - 48 - 1),
        (2048, True, 1),
    ]
    active, suspended = told["active"], told["suspended"]
    assert active["memory_mib_hours"] == 48 * 1024 + (31 * 24 - 49) * 2048
    assert (active["hours"], active["vcpu_hours"], active["disk_gib_hours"]) == (743, 1486, 7430)
    assert (suspended["hours"], suspended["address_hours"], suspended["address_seconds"]) == (1, 1, 3600)
    assert active["seconds"] + suspended["seconds"] + told["absent_seconds"] == 31 * 24 * HOUR
    edges = [(each["begin"], each["end"]) for each in told["intervals"]]
    assert (edges[0][0], edges[-1][1]) == ("2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z")
    assert [end for _, end in edges[:-1]] == [begin for begin, _ in edges[1:]]


def test_the_traffic_of_a_whole_month_is_its_count_and_of_less_that_of_its_rows(vm: Vm, api: APIClient) -> None:
    VmTraffic.objects.create(vm_id=vm.pk, month=date(2026, 5, 1), rx_bytes=1000, tx_bytes=500)
    RolledUp.objects.create(step=Step.HOUR, until=JUNE)
    RolledUp.objects.create(step=Step.DAY, until=JUNE)
    for step, day, rx_bytes in ((Step.DAY, 10, 70), (Step.HOUR, 10, 60), (Step.DAY, 11, 30), (Step.DAY, 12, 9)):
        VmUsage.objects.create(vm_id=vm.pk, step=step, at=MAY + timedelta(days=day), rx_bytes=rx_bytes, tx_bytes=1)
    path = f"/api/v1/vms/{vm.pk}/usage"
    assert api.get(path, PERIOD).json()["traffic"] == {
        "rx_bytes": 1000,
        "tx_bytes": 500,
        "complete": True,
        "not_known": [],
    }
    days = {"from": "2026-05-11T00:00:00Z", "to": "2026-05-13T00:00:00Z"}
    assert api.get(path, days).json()["traffic"] == {"rx_bytes": 100, "tx_bytes": 2, "complete": True, "not_known": []}


def test_what_is_not_kept_of_a_deleted_vm_is_told_and_its_months_are_kept(vm: Vm, api: APIClient) -> None:
    VmTraffic.objects.create(vm_id=vm.pk, month=date(2026, 5, 1), rx_bytes=1000, tx_bytes=500)
    entry(vm, MAY + timedelta(days=20), exists=False)
    path = f"/api/v1/vms/{vm.pk}/usage"
    vm.delete()
    # It had none after its end: the month is whole.
    until = {**PERIOD, "to": "2026-05-25T00:00:00Z"}
    whole = {"rx_bytes": 1000, "tx_bytes": 500, "complete": True, "not_known": []}
    assert api.get(path, until).json()["traffic"] == whole
    part = {**PERIOD, "to": "2026-05-15T00:00:00Z"}
    assert api.get(path, part).json()["traffic"]["complete"] is False


def test_what_nobody_read_before_a_stop_is_not_known_for_ever(vm: Vm, api: APIClient) -> None:
    on, off = MAY + timedelta(days=7), MAY + timedelta(days=7, minutes=5)
    for status, at in ((VmStatus.RUNNING, on), (VmStatus.SHUT_OFF, off)):
        StatusChange.objects.create(vm=vm, status=status, at=at, cause=Cause.OUTSIDE)
    Vm.objects.update(created_at=MAY - timedelta(days=9), status=VmStatus.SHUT_OFF)
    path = f"/api/v1/vms/{vm.pk}/usage"
    not_known = [{"begin": "2026-05-08T00:00:00Z", "end": "2026-05-08T00:05:00Z"}]
    expected = {"rx_bytes": 0, "tx_bytes": 0, "complete": False, "not_known": not_known}
    assert api.get(path, PERIOD).json()["traffic"] == expected
    # Started and collected again: that is no more known than before.
    take_counters(vm, MAY + timedelta(days=8), run=2)
    assert api.get(path, PERIOD).json()["traffic"]["not_known"][:1] == not_known
    for step in (Step.HOUR, Step.DAY):
        RolledUp.objects.update_or_create(step=step, defaults={"until": JUNE})
    before = api.get(path, {**PERIOD, "to": (MAY + timedelta(days=6)).isoformat()}).json()["traffic"]
    assert (before["complete"], before["not_known"]) == (True, [])
    entry(vm, MAY + timedelta(days=20), exists=False)
    forget_vm(vm)
    assert not_known[0] in api.get(path, PERIOD).json()["traffic"]["not_known"]


def test_what_is_not_collected_yet_is_not_complete(vm: Vm, api: APIClient) -> None:
    Vm.objects.update(created_at=MAY - timedelta(days=9), status=VmStatus.RUNNING)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    take_counters(vm, hour, run=1)
    end = (hour + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    until = {"from": (hour - timedelta(hours=1)).isoformat(), "to": end}
    told = api.get(f"/api/v1/vms/{vm.pk}/usage", until).json()["traffic"]
    assert (told["complete"], told["not_known"][-1]["end"]) == (None, end)
    take_counters(vm, hour + timedelta(minutes=10), run=1)
    assert api.get(f"/api/v1/vms/{vm.pk}/usage", until).json()["traffic"]["complete"] is True


def test_a_run_that_another_followed_unseen_was_not_read_to_its_end(vm: Vm, api: APIClient) -> None:
    Vm.objects.update(created_at=MAY - timedelta(days=9), status=VmStatus.RUNNING)
    take_counters(vm, MAY + timedelta(days=2), run=1)
    take_counters(vm, MAY + timedelta(days=2, minutes=10), run=2)
    take_counters(vm, MAY + timedelta(days=40), run=2)
    told = api.get(f"/api/v1/vms/{vm.pk}/usage", PERIOD).json()["traffic"]
    assert told["not_known"] == [{"begin": "2026-05-03T00:00:00Z", "end": "2026-05-03T00:10:00Z"}]


def test_a_user_is_told_of_the_time_in_which_the_vm_was_theirs(
    vm: Vm, admin: User, api: APIClient, api_as_user: APIClient
) -> None:
    entry(vm, MAY + timedelta(days=10), owner_id=admin.pk)
    path = f"/api/v1/vms/{vm.pk}/usage"
    assert api_as_user.get(path, PERIOD).json()["absent_seconds"] == 21 * 24 * HOUR
    assert {size["owner"] for size in api_as_user.get(path, PERIOD).json()["sizes"]} == {"anna"}
    assert {size["owner"] for size in api.get(path, PERIOD).json()["sizes"]} == {"anna", "admin"}


def test_anothers_vm_is_as_absent(node: Node, admin: User, api_as_user: APIClient) -> None:
    vm = make_vm(node, admin, "web2")
    entry(vm, MAY)
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}/usage", PERIOD).status_code == 404
    assert api_as_user.get("/api/v1/usage", {**PERIOD, "owner": "admin"}).json()["results"] == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-05-01"}, "from"),
        ({"to": "2026-05-01T00:00:00"}, "to"),
        ({"from": "2026-05-01T00:00:00.5Z"}, "from"),
        ({"from": "2026-06-01T00:00:00Z", "to": "2026-05-01T00:00:00Z"}, "from"),
        ({"from": "2020-06-01T00:00:00Z", "to": "2026-05-01T00:00:00Z"}, "from"),
        ({"from": "9000-06-01T00:00:00Z"}, "from"),
        ({"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "from"),
    ],
)
def test_what_is_no_period_is_refused_with_its_field(vm: Vm, api: APIClient, asked: dict[str, str], field: str) -> None:
    for path in ("/api/v1/usage", f"/api/v1/vms/{vm.pk}/usage"):
        answer = api.get(path, asked)
        assert (answer.status_code, answer.json().get("field")) == (400, field)


def test_the_list_has_each_vm_that_was_there_and_none_that_was_not(
    vm: Vm, node: Node, admin: User, api: APIClient
) -> None:
    gone, later, others = (make_vm(node, owner, name) for owner, name in ((admin, "old"), (admin, "new"), (admin, "b")))
    entry(gone, MAY - timedelta(days=20))
    entry(gone, MAY - timedelta(days=10), exists=False)
    entry(later, JUNE)
    entry(others, MAY)
    told = api.get("/api/v1/usage", PERIOD).json()["results"]
    assert [each["name"] for each in told] == ["web1", "b"]
    assert [each["name"] for each in api.get("/api/v1/usage", {**PERIOD, "owner": "admin"}).json()["results"]] == ["b"]
    assert api.get("/api/v1/usage", {**PERIOD, "owner": "nobody"}).status_code == 404


def test_pages_make_the_same_number_of_queries_for_few_and_many(node: Node, user: User, api: APIClient) -> None:
    counts = []
    ledger.close(JUNE, ledger.read_clock())
    for number in range(60):
        vm = make_vm(node, user, f"web{number}")
        entry(vm, MAY + timedelta(hours=number))
        entry(vm, MAY + timedelta(hours=number + 3), vcpus=4)
        if number in (2, 59):
            with CaptureQueriesContext(connection) as queries:
                told = api.get("/api/v1/usage", {**PERIOD, "owner": "anna"}).json()
            counts.append(len(queries))
    assert counts[0] == counts[1] <= 10, counts
    assert len(told["results"]) == 50
    rest = api.get(told["next"]).json()
    assert len(rest["results"]) == 10 and rest["next"] is None


def test_usage_of_one_user_costs_ten_queries_however_many_vms(
    vm: Vm, node: Node, user: User, api_as_user: APIClient, api: APIClient
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(3):
        entry(make_vm(node, user, f"more{number}"), now - timedelta(days=1))
    period = {"from": (now - timedelta(days=70)).isoformat(), "to": now.isoformat()}
    # As the migration left it.
    Closed.objects.get_or_create(pk=1, defaults={"until": MAY})
    for client, more in ((api_as_user, {}), (api, {"owner": user.name}), (api, {})):
        with CaptureQueriesContext(connection) as made:
            told = client.get("/api/v1/usage", period | more).json()
        assert len(told["results"]) == 4
        assert len(made.captured_queries) <= 10, "\n".join(each["sql"] for each in made.captured_queries)
