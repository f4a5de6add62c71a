"""A suspended VM is off and stays off, whoever wants it on, and is afterwards as it was wanted before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure
from panel.images.models import Image
from panel.monitoring import services, suspending
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Vm, VmStatus
from tests.db.conftest import run_task
from tests.db.monitoring.messages import event, full_report, told
from tests.db.tasks.scenarios import ask_create
from vmwatch import wire


@pytest.fixture
def vm(admin: User, user: User, node: Node, image: Image) -> Vm:
    """A customer's running VM that was suspended."""
    vm = Vm.objects.get(pk=run_task(ask_create(admin)).object_id)
    Vm.objects.filter(pk=vm.pk).update(owner=user)
    run_task(registry.get("vm.autostart").submit(admin, {}, object_id=vm.pk))
    run_task(registry.get("vm.suspend").submit(admin, {"reason": "not paid for"}, object_id=vm.pk))
    vm.refresh_from_db()
    return vm


def domain(vm: Vm) -> fake.FakeDomain:
    """Its domain."""
    return fake.node(vm.node_id).domains[str(vm.uuid)]


def test_it_is_off_does_not_start_with_its_node_and_says_why(vm: Vm, api_as_user: APIClient) -> None:
    assert (domain(vm).state, domain(vm).spec.autostart) == (VmStatus.SHUT_OFF, False)
    shown = api_as_user.get(f"/api/v1/vms/{vm.pk}").json()
    assert shown["suspended_at"] and shown["suspension_reason"] == "not paid for"
    assert (shown["autostart"], shown["wanted"]) == (True, "running")


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "pause", "resume", "reset", "force-off"])
def test_its_power_is_not_its_owners(vm: Vm, api_as_user: APIClient, verb: str) -> None:
    answer = api_as_user.post(f"/api/v1/vms/{vm.pk}/{verb}", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "suspended")
    assert "not paid for" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["suspend", "unsuspend", "keep-off"])
def test_its_owner_neither_suspends_nor_ends_it(vm: Vm, api_as_user: APIClient, verb: str) -> None:
    answer = api_as_user.post(f"/api/v1/vms/{vm.pk}/{verb}", {})
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


def test_afterwards_it_is_as_it_was_wanted(vm: Vm, admin: User) -> None:
    assert run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk)).status == Status.DONE
    assert (domain(vm).state, domain(vm).spec.autostart) == (VmStatus.RUNNING, True)
    vm.refresh_from_db()
    assert (vm.suspended_at, vm.suspension_reason, vm.wanted) == (None, "", "running")


def test_one_that_was_off_stays_off(vm: Vm, admin: User) -> None:
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk))
    for name in ("vm.suspend", "vm.unsuspend"):
        assert run_task(registry.get(name).submit(admin, {}, object_id=vm.pk)).status == Status.DONE
    assert domain(vm).state == VmStatus.SHUT_OFF


def test_suspending_again_keeps_the_date_and_the_reason(vm: Vm, admin: User) -> None:
    since = vm.suspended_at
    run_task(registry.get("vm.suspend").submit(admin, {}, object_id=vm.pk))
    vm.refresh_from_db()
    assert (vm.suspended_at, vm.suspension_reason) == (since, "not paid for")


@pytest.mark.parametrize("step", ["while it waits", "once it has begun"])
def test_a_suspension_is_not_cancelled_since_it_holds_already(vm: Vm, api: APIClient, admin: User, step: str) -> None:
    """It would be off all the same: who wants it to run again ends the suspension."""
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    if step == "while it waits":
        registry.get("vm.pause").submit(admin, {}, object_id=vm.pk)
    task = registry.get("vm.suspend").submit(admin, {}, object_id=vm.pk, queue=True)
    if step == "once it has begun":
        Task.objects.filter(pk=task.pk).update(status=Status.RUNNING)
    answer = api.post(f"/api/v1/tasks/{task.pk}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "cannot be cancelled" in answer.json()["detail"]
    vm.refresh_from_db()
    assert vm.suspended


@pytest.mark.parametrize("seen", ["event", "full report"])
def test_one_that_virsh_started_is_forced_off(vm: Vm, node: Node, seen: str, run_tasks: Callable[[], None]) -> None:
    domain(vm).state = VmStatus.RUNNING
    message = event(vm, wire.RUNNING, 1) if seen == "event" else full_report(node, [told(vm, wire.RUNNING)], 1)
    services.take_messages([message])
    assert Task.objects.filter(operation="vm.keep-off").count() == 1
    run_tasks()
    assert domain(vm).state == VmStatus.SHUT_OFF
    suspending.keep_off()
    assert Task.objects.filter(operation="vm.keep-off").count() == 1


def test_one_that_cannot_be_forced_off_is_not_tried_in_every_sweep(
    vm: Vm, node: Node, run_tasks: Callable[[], None]
) -> None:
    domain(vm).state = VmStatus.RUNNING
    refusal = LibvirtFailure(node="fake1", command="host_stop", text="no", libvirt_code=1)
    fake.node(node.pk).fail("host_stop", refusal, times=9)
    services.take_messages([event(vm, wire.RUNNING, 1)])
    run_tasks()
    suspending.keep_off()
    assert list(Task.objects.filter(operation="vm.keep-off").values_list("status", flat=True)) == [Status.FAILED]
    Task.objects.filter(operation="vm.keep-off").update(finished_at="2000-01-01T00:00:00Z")
    suspending.keep_off()
    assert Task.objects.filter(operation="vm.keep-off").count() == 2


def test_a_suspension_that_ended_meanwhile_forces_nothing_off(vm: Vm, admin: User) -> None:
    task = registry.get("vm.keep-off").submit(admin, {}, object_id=vm.pk)
    Vm.objects.filter(pk=vm.pk).update(suspended_at=None)
    domain(vm).state = VmStatus.RUNNING
    assert run_task(task).status == Status.DONE
    assert domain(vm).state == VmStatus.RUNNING


def test_a_start_that_waited_its_turn_is_refused(vm: Vm, admin: User) -> None:
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk))
    start = registry.get("vm.start").submit(admin, {}, object_id=vm.pk)
    suspend = registry.get("vm.suspend").submit(admin, {"reason": "abuse"}, object_id=vm.pk, queue=True)
    ended = run_task(start)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "suspended")
    assert run_task(suspend).status == Status.DONE
    assert domain(vm).state == VmStatus.SHUT_OFF


def test_a_snapshot_with_memory_is_not_a_way_around_it(vm: Vm, admin: User, api_as_user: APIClient) -> None:
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    made = run_task(registry.get("vm.snapshot").submit(admin, {"name": "on"}, object_id=vm.pk))
    run_task(registry.get("vm.suspend").submit(admin, {}, object_id=vm.pk))
    answer = api_as_user.post(f"/api/v1/vms/{vm.pk}/revert-snapshot", {"snapshot": made.result["snapshot"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "suspended")


def test_the_end_of_a_rescue_is_not_a_way_around_it(vm: Vm, admin: User, api_as_user: APIClient) -> None:
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    raw = {"image": "small", "password": "another horse"}
    assert run_task(registry.get("vm.rescue").submit(admin, raw, object_id=vm.pk)).status == Status.DONE
    run_task(registry.get("vm.suspend").submit(admin, {}, object_id=vm.pk))
    answer = api_as_user.post(f"/api/v1/vms/{vm.pk}/end-rescue", {})
    assert run_task(Task.objects.get(pk=answer.json()["task"]["id"])).status == Status.DONE
    assert domain(vm).state == VmStatus.SHUT_OFF
    run_task(registry.get("vm.unsuspend").submit(admin, {}, object_id=vm.pk))
    assert domain(vm).state == VmStatus.RUNNING
