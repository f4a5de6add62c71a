"""A running VM that does nothing bears a warning where the policy wants it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from panel.cluster.models import Cluster
from panel.monitoring import services
from panel.monitoring.models import VmCounters
from panel.vms.models import StatusChange, Vm, VmStatus
from tests.db.conftest import make_node
from tests.db.monitoring.counting import counted, take
from tests.db.monitoring.messages import event
from vmwatch import wire


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
