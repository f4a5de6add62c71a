"""Power: what wins over a waiting shutdown, what pauses and resets, what starts with its node."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.tokens import create_token
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import Busy
from panel.images.models import Image
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskStep
from panel.vms.models import Vm, VmStatus
from panel.vms.spec import domain_spec
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import ask_create


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A running VM."""
    return Vm.objects.get(pk=run_task(ask_create(admin)).object_id)


def domain(vm: Vm) -> fake.FakeDomain:
    """Its domain."""
    return fake.node(vm.node_id).domains[str(vm.uuid)]


class AskMeanwhile(engine.Observer):
    """Asks for an operation while a step of another one is about to wait."""

    def __init__(self, admin: User, vm: Vm, step: str, name: str) -> None:
        self.admin, self.vm, self.step, self.name = admin, vm, step, name
        self.asked: list[Task] = []

    def before(self, task: Task, step: TaskStep) -> None:
        """Ask once."""
        if step.name == self.step and not self.asked:
            self.asked.append(registry.get(self.name).submit(self.admin, {}, object_id=self.vm.pk))


@pytest.mark.parametrize("name", ["vm.stop", "vm.restart"])
def test_force_off_ends_a_waiting_shutdown_at_once(vm: Vm, admin: User, name: str) -> None:
    domain(vm).obeys = False
    meanwhile = AskMeanwhile(admin, vm, "shut_down", "vm.force-off")
    waiting = registry.get(name).submit(admin, {"timeout_seconds": 300}, object_id=vm.pk)
    ended = run_task(waiting, meanwhile)

    assert ended.status == Status.CANCELLED
    assert ended.log.filter(text__startswith=f"Gives way to task {meanwhile.asked[0].pk}").exists()
    assert run_task(meanwhile.asked[0]).status == Status.DONE
    assert domain(vm).state == VmStatus.SHUT_OFF
    vm.refresh_from_db()
    assert (vm.status, vm.wanted) == ("shut off", "shut off")


def test_force_off_does_not_wait_for_anything_else(vm: Vm, admin: User) -> None:
    registry.get("vm.snapshot").submit(admin, {"name": "before"}, object_id=vm.pk)
    with pytest.raises(Busy):
        registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk)
    assert Task.objects.filter(operation="vm.force-off").count() == 0


def test_force_off_also_ends_a_shutdown_that_has_not_begun(vm: Vm, admin: User) -> None:
    stop = registry.get("vm.stop").submit(admin, {}, object_id=vm.pk)
    off = registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk)
    assert run_task(stop).status == Status.CANCELLED
    assert run_task(off).status == Status.DONE
    assert domain(vm).state == VmStatus.SHUT_OFF


def test_who_may_force_off_needs_no_right_to_cancel_the_shutdown(vm: Vm, admin: User) -> None:
    stop = registry.get("vm.stop").submit(admin, {}, object_id=vm.pk)
    _token, text = create_token(admin, "power", rights=["vms.view", "vms.power"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    answer = client.post(f"/api/v1/vms/{vm.pk}/force-off", {})
    assert answer.status_code == 202, answer.json()
    assert run_task(stop).status == Status.CANCELLED
    assert run_task(Task.objects.get(pk=answer.json()["task"]["id"])).status == Status.DONE


def test_a_vm_is_paused_resumed_and_reset_and_its_status_follows(
    api: APIClient, vm: Vm, run_tasks: Callable[[], None]
) -> None:
    for verb, status in (("pause", "paused"), ("resume", "running"), ("reset", "running")):
        assert api.post(f"/api/v1/vms/{vm.pk}/{verb}", {}).status_code == 202
        run_tasks()
        assert api.get(f"/api/v1/vms/{vm.pk}").json()["status"] == status


@pytest.mark.parametrize("verb", ["pause", "resume", "reset"])
def test_a_vm_that_is_off_has_no_cpus_to_halt(api: APIClient, vm: Vm, run_tasks: Callable[[], None], verb: str) -> None:
    api.post(f"/api/v1/vms/{vm.pk}/force-off", {})
    run_tasks()
    answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")


def test_autostart_is_told_to_libvirt_and_stands_in_every_later_description(
    api: APIClient, vm: Vm, run_tasks: Callable[[], None]
) -> None:
    for enabled in (True, False, True):
        assert api.post(f"/api/v1/vms/{vm.pk}/autostart", {"enabled": enabled}, format="json").status_code == 202
        run_tasks()
        assert api.get(f"/api/v1/vms/{vm.pk}").json()["autostart"] is enabled
        assert domain(vm).spec.autostart is enabled
    assert domain_spec(Vm.objects.get(pk=vm.pk)).autostart


def test_an_autostart_that_is_cancelled_while_it_waits_changes_nothing(api: APIClient, vm: Vm) -> None:
    stop, autostart = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/{verb}?queue=1", {}).json()["task"]["id"])
        for verb in ("force-off", "autostart")
    )
    assert api.post(f"/api/v1/tasks/{autostart.pk}/cancel").status_code == 202
    assert [run_task(task).status for task in (autostart, stop)] == ["cancelled", "done"]
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["autostart"] is False
    assert domain(vm).spec.autostart is False


def test_a_shutdown_that_is_cancelled_while_it_waits_was_not_wanted(api: APIClient, vm: Vm) -> None:
    """The end of a suspension starts what was wanted to run."""
    configure, stop = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/{verb}?queue=1", raw).json()["task"]["id"])
        for verb, raw in (("configure", {"title": "Shop"}), ("stop", {}))
    )
    assert api.post(f"/api/v1/tasks/{stop.pk}/cancel").status_code == 202
    assert [run_task(task).status for task in (stop, configure)] == ["cancelled", "done"]
    for verb in ("suspend", "unsuspend"):
        task = api.post(f"/api/v1/vms/{vm.pk}/{verb}", {}).json()["task"]["id"]
        assert run_task(Task.objects.get(pk=task)).status == "done"
    assert domain(vm).state == VmStatus.RUNNING
