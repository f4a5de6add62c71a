"""node.forget: a node that is not to be spoken to any more can always be taken out of the panel."""

from __future__ import annotations

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import JournalEntry, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import NodeUnreachable
from panel.images.models import Image
from panel.monitoring import services as monitoring
from panel.network.models import Address
from panel.notices.models import Problem
from panel.storage.models import Volume
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskLock, TaskLog, TaskSecret
from panel.vms.models import Vm
from panel.vms.usage import differing
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import full_report, told
from tests.db.web.buttons import buttons

PAST = "2000-01-01T00:00:00Z"


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM on the node."""
    raw = {"name": "web1", "image": "small", "flavor": "small"}
    assert run_task(registry.get("vm.create").submit(admin, raw)).status == Status.DONE
    return Vm.objects.get()


def die(node: Node) -> None:
    """The host answers nothing any more."""
    for command in ("host_stop", "host_start", "host_info", "bridge_remove", "pool_remove", "vmwatch_remove"):
        fake.node(node.pk).fail(command, NodeUnreachable(node=node.name, reason="no route"), times=1000)


def forget(api: APIClient, node: Node, **raw: bool) -> Task:
    """Forget the node; answers the task at its end."""
    answer = api.post(f"/api/v1/nodes/{node.pk}/forget", raw, format="json")
    assert answer.status_code == 202, answer.json()
    return run_task(Task.objects.get(pk=answer.json()["task"]["id"]))


def test_its_vms_are_named_and_are_not_forgotten_unasked(node: Node, vm: Vm, api: APIClient) -> None:
    answer = api.post(f"/api/v1/nodes/{node.pk}/forget", {}, format="json")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "wrong_state", "forget_vms")
    assert answer.json()["vms"] == ["web1"]
    assert "The node has 1 VM: web1. They are forgotten with it if you say so" in answer.json()["detail"]
    assert Vm.objects.exists() and TaskLock.objects.count() == 0


def test_a_dead_node_goes_with_its_vms_and_says_what_may_be_left(node: Node, vm: Vm, api: APIClient) -> None:
    die(node)
    before = len(fake.node(node.pk).calls)
    task = forget(api, node, forget_vms=True)

    assert task.status == Status.DONE, task.error
    assert len(fake.node(node.pk).calls) == before, "it is not spoken to"
    for model in (Node, Vm, Volume, Address, TaskLock):
        assert not model.objects.exists(), model
    assert not list(differing())
    assert task.result["vms"] == ["web1"]
    left = " ".join(task.result["left"])
    for said in (
        "authorized_keys",
        "/usr/lib/vmpanel",
        "“web1”",
        str(vm.uuid),
        "vmbr-nat0",
        "/var/lib/vmpanel/pool",
        "vmwatch",
    ):
        assert said in left
    entry = JournalEntry.objects.get(action="node.forget")
    assert (entry.object_name, entry.after) == ("fake1", {"forget_vms": True})


def test_names_and_addresses_are_free_again_on_another_node(node: Node, vm: Vm, api: APIClient) -> None:
    address = vm.interfaces.get().ip
    other = make_node("fake2")
    die(node)
    assert forget(api, node, forget_vms=True).status == Status.DONE
    answer = api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small"}, format="json")
    assert run_task(Task.objects.get(pk=answer.json()["task"]["id"])).status == Status.DONE
    again = Vm.objects.get()
    assert (again.node, again.interfaces.get().ip) == (other, address)
    assert again.uuid != vm.uuid


@pytest.mark.parametrize("at", [Status.STUCK, Status.RETRYING, Status.QUEUED, Status.RUNNING])
def test_a_task_that_holds_the_node_does_not_hold_it_up(
    at: str, admin: User, node: Node, vm: Vm, api: APIClient
) -> None:
    holder = registry.get("vm.restart").submit(admin, {}, object_id=vm.pk)
    Task.objects.filter(pk=holder.pk).update(
        status=at, lease_until=None if at != Status.RUNNING else "2100-01-01T00:00:00Z"
    )
    die(node)
    assert forget(api, node, forget_vms=True).status == Status.DONE
    holder.refresh_from_db()
    assert (holder.status, holder.error["code"]) == (Status.FAILED, "operation_failed")
    assert "since the node “fake1” was forgotten" in TaskLog.objects.filter(task=holder).latest("pk").text
    assert engine.run(holder.pk, "late") is None
    assert not (TaskLock.objects.exists() or TaskSecret.objects.exists())


def test_a_worker_that_is_at_it_changes_nothing_more(admin: User, node: Node, vm: Vm, api: APIClient) -> None:
    class Meanwhile(engine.Observer):
        """The node is forgotten while a step runs."""

        def ran(self, task: Task, step: object) -> None:
            """The moment."""
            assert forget(api, node, forget_vms=True).status == Status.DONE

    holder = registry.get("vm.restart").submit(admin, {}, object_id=vm.pk)
    assert engine.run(holder.pk, "test", Meanwhile()) is None
    holder.refresh_from_db()
    assert holder.status == Status.FAILED
    assert not Node.objects.exists()


def test_the_problem_of_a_stuck_task_closes(admin: User, node: Node, image: Image, api: APIClient) -> None:
    raw = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
    task = registry.get("vm.create").submit(admin, raw)
    memory = fake.node(node.pk)
    gone = NodeUnreachable(node=node.name, reason="no route")
    for command in ("host_start", "host_stop", "host_delete"):
        memory.fail(command, gone, times=1000)
    for _ in range(60):
        Task.objects.filter(pk=task.pk).update(next_run_at=PAST)
        task.steps.exclude(failing_since=None).update(failing_since=PAST)
        engine.run(task.pk, "test")
    task.refresh_from_db()
    assert task.status == Status.STUCK
    assert not TaskSecret.objects.exists(), "a task that waits for a person keeps no secret"
    assert Problem.objects.filter(open_key=f"task:{task.pk}:stuck").exists()
    assert forget(api, node, forget_vms=True).status == Status.DONE
    assert not Problem.objects.exclude(open_key=None).exists()


def test_a_vm_that_lives_on_another_node_by_now_is_settled_first(node: Node, vm: Vm, api: APIClient) -> None:
    Vm.objects.update(seen_elsewhere=True)
    answer = api.post(f"/api/v1/nodes/{node.pk}/forget", {"forget_vms": True}, format="json")
    assert answer.status_code == 409
    assert "Another node runs web1" in answer.json()["detail"]


def test_what_a_forgotten_node_says_when_it_comes_back_changes_nothing(node: Node, vm: Vm, api: APIClient) -> None:
    other = make_node("fake2")
    assert forget(api, node, forget_vms=True).status == Status.DONE
    assert monitoring.take_messages([full_report(node, [told(vm, "running")], 1), full_report(other, [], 1)]) == 1
    assert not (Vm.objects.exists() or Node.objects.filter(pk=node.pk).exists())


def test_its_page_offers_both_ways_out(node: Node, admin: User, client: Client) -> None:
    client.force_login(admin)
    assert {"forget", "reconnect"} <= buttons(client.get(f"/nodes/{node.pk}").content.decode()).keys()
    dialog = client.get(f"/nodes/{node.pk}/do/forget").content.decode()
    assert "The host is not spoken to: guests that run there run on" in dialog
