"""What VMs used, and their traffic, over REST."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.monitoring.models import Step, VmTraffic, VmUsage
from panel.monitoring.models.statistics import slot
from panel.vms.models import Vm
from tests.db.monitoring.counting import counted, take
from tests.db.monitoring.messages import make_vm


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
