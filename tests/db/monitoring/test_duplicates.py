"""One UUID active on two nodes: said at once, nothing made worse, until a person decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.monitoring import services
from panel.notices.models import Problem, Severity
from panel.vms.models import Sighting, Vm, VmStatus
from tests.db.conftest import make_node
from tests.db.monitoring.messages import define, event, full_report, make_vm, status_of, told
from vmwatch import wire


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM on the first node."""
    return make_vm(node, user, "web1")


@pytest.fixture
def other() -> Node:
    """The second node."""
    return make_node("fake2")


def problem() -> Problem | None:
    """What is open, if anything."""
    return Problem.objects.filter(open_key__endswith=":duplicate").first()


@pytest.mark.parametrize("as_full_report", [False, True])
def test_a_second_active_copy_is_an_alarm_at_once(vm: Vm, other: Node, as_full_report: bool) -> None:
    second = (
        full_report(other, [told(vm, wire.RUNNING)], 1) if as_full_report else event(vm, wire.RUNNING, 1, node=other)
    )
    services.take_messages([second])
    found = problem()
    assert found is not None
    assert (found.severity, found.object_type, found.object_id) == (Severity.ALARM, "vm", vm.pk)
    assert vm.node.name in found.text and other.name in found.text
    assert status_of(vm) == VmStatus.RUNNING
    services.take_messages([full_report(other, [told(vm, wire.RUNNING)], 2)])
    assert Problem.objects.count() == 1


def test_a_copy_that_runs_while_the_vm_itself_is_off_is_an_error_and_an_alarm_when_it_starts(
    vm: Vm, other: Node
) -> None:
    services.take_messages([event(vm, wire.SHUT_OFF, 1), event(vm, wire.RUNNING, 1, node=other)])
    found = problem()
    assert found is not None and found.severity == Severity.ERROR
    services.take_messages([event(vm, wire.RUNNING, 2)])
    found = problem()
    assert found is not None and found.severity == Severity.ALARM


def test_a_copy_that_is_off_is_no_problem(vm: Vm, other: Node) -> None:
    services.take_messages([full_report(other, [told(vm, wire.SHUT_OFF)], 1)])
    assert problem() is None
    assert not Sighting.objects.exists()


@pytest.mark.parametrize("gone", ["event", "full report", "full report without it"])
def test_it_is_over_when_the_copy_is_gone(vm: Vm, other: Node, gone: str) -> None:
    services.take_messages([event(vm, wire.RUNNING, 1, node=other)])
    ends = {
        "event": event(vm, wire.SHUT_OFF, 2, node=other),
        "full report": full_report(other, [told(vm, wire.SHUT_OFF)], 2),
        "full report without it": full_report(other, [], 2),
    }
    services.take_messages([ends[gone]])
    assert problem() is None
    assert not Vm.objects.get(pk=vm.pk).seen_elsewhere


@pytest.mark.parametrize(("method", "path"), [("post", "start"), ("post", "restart"), ("delete", "")])
def test_what_would_make_it_worse_is_refused_with_the_reason(
    api: APIClient, vm: Vm, other: Node, method: str, path: str
) -> None:
    services.take_messages([event(vm, wire.RUNNING, 1, node=other)])
    answer = getattr(api, method)(f"/api/v1/vms/{vm.pk}/{path}" if path else f"/api/v1/vms/{vm.pk}")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "Another node runs" in answer.json()["detail"]


class TestSettling:
    """vm.settle."""

    @pytest.fixture(autouse=True)
    def copies(self, vm: Vm, other: Node) -> None:
        """A domain on both nodes, both seen."""
        for node in (vm.node, other):
            define(node, vm, VmStatus.RUNNING)
        services.take_messages([event(vm, wire.RUNNING, 1), event(vm, wire.RUNNING, 1, node=other)])

    def settle(self, api: APIClient, vm: Vm, **fields: object) -> None:
        answer = api.post(f"/api/v1/vms/{vm.pk}/settle", fields, format="json")
        assert answer.status_code == 202, answer.json()

    def test_the_vm_stays_where_it_is_and_the_copy_is_forced_off(
        self, api: APIClient, vm: Vm, other: Node, run_tasks: Callable[[], None]
    ) -> None:
        self.settle(api, vm, node=vm.node.name, stop_others=True)
        run_tasks()
        assert fake.node(other.pk).domains[str(vm.uuid)].state == VmStatus.SHUT_OFF
        assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.RUNNING
        assert problem() is None
        assert api.post(f"/api/v1/vms/{vm.pk}/restart").status_code == 202

    def test_the_vm_is_the_other_copy_and_its_own_is_left_alone(
        self, api: APIClient, vm: Vm, other: Node, run_tasks: Callable[[], None]
    ) -> None:
        left = vm.node
        self.settle(api, vm, node=other.name)
        run_tasks()
        vm.refresh_from_db()
        assert (vm.node, vm.status, vm.seen_elsewhere) == (other, VmStatus.RUNNING, False)
        assert fake.node(left.pk).domains[str(vm.uuid)].state == VmStatus.RUNNING
        found = problem()
        assert found is not None and found.severity == Severity.WARNING and left.name in found.text
        services.take_messages([full_report(left, [], 2)])
        assert problem() is None
        services.take_messages([event(vm, wire.PAUSED, 2, node=other)])
        assert status_of(vm) == VmStatus.PAUSED

    def test_a_node_without_a_copy_is_refused_naming_the_field(self, api: APIClient, vm: Vm) -> None:
        make_node("fake3")
        answer = api.post(f"/api/v1/vms/{vm.pk}/settle", {"node": "fake3"}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (404, "node")

    def test_the_owner_cannot_decide(self, api_as_user: APIClient, vm: Vm) -> None:
        answer = api_as_user.post(f"/api/v1/vms/{vm.pk}/settle", {"node": vm.node.name}, format="json")
        assert answer.status_code == 403
