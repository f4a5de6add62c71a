"""What a move is refused for, what it promises meanwhile, and that its two domains are no duplicates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.images.models import Image
from panel.monitoring import services
from panel.notices.models import Problem, Severity
from panel.notices.services import open_problem
from panel.storage.models import Volume
from panel.tasks import engine
from panel.tasks.models import Status, Task
from panel.tasks.services import cancel
from panel.vms.models import Migration, Sighting, Vm, VmStatus
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import event, picture, told
from vmwatch import wire


@pytest.fixture
def other(node: Node) -> Node:
    """The second node."""
    return make_node("fake2")


@pytest.fixture
def vm(api: APIClient, node: Node, other: Node, image: Image) -> Vm:
    """A VM that runs on the first node."""
    answer = api.post(
        "/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small", "node": node.name}, format="json"
    ).json()
    assert run_task(Task.objects.get(pk=answer["task"]["id"])).status == Status.DONE
    return Vm.objects.get(pk=answer["vm"])


def ask(api: APIClient, vm: Vm, **raw: object) -> dict[str, object]:
    """Ask for a move; answers what the panel answers."""
    return dict(api.post(f"/api/v1/vms/{vm.pk}/migrate", raw, format="json").json())


def task_of(answer: dict[str, object]) -> Task:
    """The task that was made."""
    return Task.objects.get(pk=answer["task"]["id"])  # type: ignore[index]


def test_a_vm_goes_with_its_volumes_in_one_moment(api: APIClient, vm: Vm, node: Node, other: Node) -> None:
    task = run_task(task_of(ask(api, vm)))
    assert (task.status, task.result["target"]) == (Status.DONE, other.name)
    vm.refresh_from_db()
    assert (vm.node, vm.status) == (other, VmStatus.RUNNING)
    assert set(Volume.objects.values_list("node", flat=True)) == {other.pk}
    assert not fake.node(node.pk).domains
    assert "fake2: " in "".join(task.log.values_list("text", flat=True))


def test_a_node_with_a_severe_problem_or_an_older_qemu_is_not_chosen_and_says_so(
    api: APIClient, vm: Vm, other: Node
) -> None:
    open_problem("x", "It burns.", severity=Severity.ERROR, object_type="node", object_id=other.pk)
    assert ask(api, vm)["candidates"] == {other.name: "the node has an open problem: It burns."}
    Problem.objects.all().delete()
    Node.objects.filter(pk=vm.node_id).update(facts={"memory_mib": 65536, "cpu_count": 16, "qemu_version": "8.0.0"})
    Node.objects.filter(pk=other.pk).update(facts={"memory_mib": 65536, "cpu_count": 16, "qemu_version": "7.2.0"})
    assert "qemu 7.2.0 is older" in str(ask(api, vm)["candidates"])


def test_what_only_the_target_knows_ends_the_task_before_anything_is_there(api: APIClient, vm: Vm, other: Node) -> None:
    fake.node(other.pk).lacks = ["its CPU lacks features that the guest may use"]
    task = run_task(task_of(ask(api, vm)))
    assert task.status == Status.FAILED and task.error is not None
    assert task.error["candidates"] == {other.name: "its CPU lacks features that the guest may use"}
    assert not fake.node(other.pk).files


def test_the_room_is_promised_while_it_is_on_its_way_and_no_longer(
    api: APIClient, vm: Vm, other: Node, image: Image
) -> None:
    Node.objects.filter(pk=other.pk).update(max_vms=1)
    task = task_of(ask(api, vm))
    raw = {"name": "web2", "image": "small", "flavor": "small", "node": other.name}
    refused = api.post("/api/v1/vms", raw, format="json").json()
    assert refused["candidates"] == {other.name: "it has 1 VMs, 1 are allowed"}
    assert ask(api, vm)["code"] in ("busy", "wrong_state")
    cancel(task, User.objects.get(name="admin"))
    assert run_task(task).status == Status.CANCELLED
    assert api.post("/api/v1/vms", raw, format="json").status_code == 202


def test_a_vm_that_is_on_its_way_is_no_duplicate_but_one_that_stays_behind_is(
    api: APIClient, vm: Vm, node: Node, other: Node
) -> None:
    task = task_of(ask(api, vm))
    services.take_messages([event(vm, wire.PAUSED, 1, node=other)])
    services.take_messages([picture(other, [told(vm, wire.RUNNING)], 2)])
    assert not Problem.objects.filter(object_type="vm").exists()
    assert run_task(task).status == Status.DONE
    # A message that left the source before the move's end is no news; a later one is.
    Migration.objects.update(ended_at=timezone.now() + timedelta(seconds=5))
    services.take_messages([event(vm, wire.RUNNING, 1, node=node)])
    assert not Sighting.objects.exists()
    Migration.objects.update(ended_at=timezone.now() - timedelta(seconds=5))
    services.take_messages([picture(node, [told(vm, wire.RUNNING)], 2)])
    assert Problem.objects.filter(object_type="vm", severity=Severity.ALARM).exists()


def test_a_cancelled_task_whose_vm_has_arrived_says_so_and_leaves_nothing_behind(
    api: APIClient, vm: Vm, node: Node, other: Node
) -> None:
    task = task_of(ask(api, vm))
    # The source's answer is lost, and the next thing that is seen is that somebody cancelled.
    fake.node(node.pk).lose_answer("migration_run")
    engine.run(task.pk, "test")
    cancel(task, User.objects.get(name="admin"))
    assert run_task(task).status == Status.CANCELLED
    vm.refresh_from_db()
    assert (vm.node, vm.status) == (other, VmStatus.RUNNING)
    assert not fake.node(node.pk).domains and not [f for f in fake.node(node.pk).files if "/volumes/" in f]
    assert "had arrived" in "".join(task.log.values_list("text", flat=True))


def test_an_evacuation_moves_all_and_names_those_that_stay(
    api: APIClient, vm: Vm, node: Node, other: Node, run_tasks: Callable[[], None]
) -> None:
    Node.objects.filter(pk=other.pk).update(max_vms=1)
    answer = api.post(
        "/api/v1/vms", {"name": "web2", "image": "small", "flavor": "small", "node": node.name}, format="json"
    ).json()
    assert run_task(Task.objects.get(pk=answer["task"]["id"])).status == Status.DONE
    asked = api.post(f"/api/v1/nodes/{node.pk}/evacuate", {"parallel": 1}, format="json").json()
    task = Task.objects.get(pk=asked["task"]["id"])
    engine.run(task.pk, "test")
    assert Task.objects.get(pk=task.pk).status == Status.RETRYING
    for child in Task.objects.filter(operation="vm.migrate"):
        run_task(child)
    ended = run_task(task)
    assert ended.status == Status.FAILED and ended.error is not None
    assert ended.error["moved"] == ["web1"]
    assert list(ended.error["stay"]) == ["web2"] and "1 are allowed" in ended.error["stay"]["web2"]
    assert Node.objects.get(pk=node.pk).maintenance


@pytest.mark.parametrize(("percent", "status"), [(49, 400), (50, 200), (500, 200), (501, 400)])
def test_overselling_is_a_policy_from_50_to_500(api: APIClient, node: Node, percent: int, status: int) -> None:
    for name in ("memory_overselling_percent", "cpu_overselling_percent"):
        assert api.patch("/api/v1/cluster", {name: percent}, format="json").status_code == status
    assert api.patch(f"/api/v1/nodes/{node.pk}", {"max_vms": 3}, format="json").json() == {"max_vms": 3}
    assert api.patch(f"/api/v1/nodes/{node.pk}", {"name": "x"}, format="json").status_code == 400
