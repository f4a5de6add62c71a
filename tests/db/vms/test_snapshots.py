"""Snapshots as rows: the tree, the limit, what is refused, what a failure leaves."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure
from panel.images.models import Image
from panel.notices.models import Problem
from panel.storage.models import Volume
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.tasks.services import cancel
from panel.vms.models import Snapshot, SnapshotState, Vm, VmStatus
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import ask_create


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A running VM."""
    return Vm.objects.get(pk=run_task(ask_create(admin)).object_id)


def domain(vm: Vm) -> fake.FakeDomain:
    """Its domain."""
    return fake.node(vm.node_id).domains[str(vm.uuid)]


def do(admin: User, vm: Vm, operation: str, **raw: Any) -> Task:
    """The operation's task, done."""
    task = run_task(registry.get(operation).submit(admin, raw, object_id=vm.pk))
    assert task.status == Status.DONE, task.error
    return task


def take(admin: User, vm: Vm, name: str) -> int:
    """A new snapshot's id."""
    return int(do(admin, vm, "vm.snapshot", name=name).result["snapshot"])


def names(branches: list[dict[str, Any]]) -> list[Any]:
    """A tree as nested lists of names; the current one bears a star."""
    return [[each["name"] + "*" * each["current"], *names(each["children"])] for each in branches]


def test_what_is_taken_after_a_revert_is_a_branch(vm: Vm, admin: User, api: APIClient) -> None:
    def tree() -> list[Any]:
        return names(api.get(f"/api/v1/vms/{vm.pk}/snapshots").json())

    first = take(admin, vm, "first")
    second = take(admin, vm, "second")
    do(admin, vm, "vm.revert-snapshot", snapshot=first)
    take(admin, vm, "third")
    assert tree() == [["first", ["second"], ["third*"]]]

    do(admin, vm, "vm.delete-snapshot", snapshot=first)
    assert tree() == [["second"], ["third*"]]
    on_node = {name: kept.parent for name, kept in domain(vm).snapshots.items()}
    assert on_node == {str(uuid): None for uuid in Snapshot.objects.values_list("uuid", flat=True)}
    do(admin, vm, "vm.revert-snapshot", snapshot=second)
    assert tree() == [["second*"], ["third"]]


def test_a_revert_is_history_and_what_is_wanted(vm: Vm, admin: User) -> None:
    on = take(admin, vm, "on")
    do(admin, vm, "vm.force-off")
    off = take(admin, vm, "off")
    for snapshot, status in ((on, "running"), (off, "shut off")):
        do(admin, vm, "vm.revert-snapshot", snapshot=snapshot)
        vm.refresh_from_db()
        assert (vm.status, vm.wanted) == (status, status)
        newest = vm.status_changes.filter(repeated=False).first()
        assert newest is not None and (newest.status, newest.cause) == (status, "task")
    kept = {row.name: (row.with_memory, row.vm_status) for row in vm.snapshots.all()}
    assert kept == {"on": (True, "running"), "off": (False, "shut off")}


def test_a_failure_leaves_neither_a_row_nor_a_snapshot(vm: Vm, admin: User, node: Node) -> None:
    refusal = LibvirtFailure(node="fake1", command="snapshot_create", text="no room", libvirt_code=1)
    fake.node(node.pk).fail("snapshot_create", refusal)
    task = run_task(registry.get("vm.snapshot").submit(admin, {"name": "never"}, object_id=vm.pk))
    assert task.status == Status.FAILED
    assert (Snapshot.objects.count(), domain(vm).snapshots) == (0, {})


def test_a_deletion_that_fails_can_be_asked_for_again(vm: Vm, admin: User, node: Node, api: APIClient) -> None:
    made = take(admin, vm, "kept")
    refusal = LibvirtFailure(node="fake1", command="snapshot_delete", text="no", libvirt_code=1)
    fake.node(node.pk).fail("snapshot_delete", refusal)
    task = run_task(registry.get("vm.delete-snapshot").submit(admin, {"snapshot": made}, object_id=vm.pk))
    assert task.status == Status.FAILED
    row = Snapshot.objects.get()
    assert (row.state, row.reason) == ("failed", task.error["message"])
    [problem] = Problem.objects.filter(open_key=f"vm:{vm.pk}:snapshots")
    assert "“kept” was not deleted" in problem.text and "Delete it again, or forget it." in problem.text
    refused = api.post(f"/api/v1/vms/{vm.pk}/revert-snapshot", {"snapshot": made}, format="json")
    assert refused.json()["code"] == "wrong_state"
    do(admin, vm, "vm.delete-snapshot", snapshot=made)
    assert (Snapshot.objects.count(), domain(vm).snapshots) == (0, {})
    assert not Problem.objects.filter(open_key=f"vm:{vm.pk}:snapshots").exists()


def test_a_vm_is_deleted_with_its_snapshots(vm: Vm, admin: User) -> None:
    take(admin, vm, "first")
    take(admin, vm, "second")
    do(admin, vm, "vm.delete")
    assert Snapshot.objects.count() == 0


def test_the_limit_is_kept(vm: Vm, admin: User, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "snapshots_per_vm", 2)
    for name in ("first", "second"):
        take(admin, vm, name)
    answer = api.post(f"/api/v1/vms/{vm.pk}/snapshot", {"name": "third"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "limit_exceeded")
    assert (answer.json()["used"], answer.json()["allowed"]) == (2, 2)


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        ({}, "missing_value", "name"),
        ({"name": ""}, "invalid_value", "name"),
        ({"name": "kept"}, "already_exists", "name"),
        ({"name": "cold", "with_memory": False}, "invalid_value", "with_memory"),
    ],
)
def test_what_cannot_be_taken_is_refused_at_once(
    vm: Vm, admin: User, api: APIClient, raw: dict[str, Any], code: str, field: str
) -> None:
    take(admin, vm, "kept")
    answer = api.post(f"/api/v1/vms/{vm.pk}/snapshot", raw, format="json")
    assert (answer.json()["code"], answer.json()["field"]) == (code, field)
    assert Snapshot.objects.count() == 1


def test_a_raw_disk_is_a_clear_refusal(vm: Vm, api: APIClient) -> None:
    Volume.objects.update(format="raw")
    answer = api.post(f"/api/v1/vms/{vm.pk}/snapshot", {"name": "s"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "qcow2" in answer.json()["detail"]


def test_another_vms_snapshot_is_absent(vm: Vm, admin: User, api: APIClient, api_as_user: APIClient) -> None:
    made = take(admin, vm, "mine")
    task = registry.get("vm.create").submit(admin, {"name": "web2", "image": "small", "flavor": "tiny"})
    other = run_task(task).object_id
    for verb in ("revert-snapshot", "delete-snapshot"):
        answer = api.post(f"/api/v1/vms/{other}/{verb}", {"snapshot": made}, format="json")
        assert (answer.status_code, answer.json()["field"]) == (404, "snapshot")
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}/snapshots").status_code == 404


def test_a_snapshot_of_what_was_started_behind_the_panels_back_has_its_memory(vm: Vm, admin: User) -> None:
    do(admin, vm, "vm.force-off")
    domain(vm).state = VmStatus.RUNNING
    take(admin, vm, "seen")
    assert Snapshot.objects.get().with_memory


def test_a_deletion_that_is_cancelled_while_it_waits_leaves_the_snapshot_as_it_is(admin: User, vm: Vm) -> None:
    made = do(admin, vm, "vm.snapshot", name="first").result["snapshot"]
    registry.get("vm.stop").submit(admin, {}, object_id=vm.pk)
    delete = registry.get("vm.delete-snapshot").submit(admin, {"snapshot": made}, object_id=vm.pk, queue=True)
    cancel(delete, admin)
    assert run_task(delete).status == Status.CANCELLED
    assert Snapshot.objects.get(pk=made).state == SnapshotState.READY


def test_names_that_are_one_for_the_database_are_one(vm: Vm, admin: User, api: APIClient) -> None:
    take(admin, vm, "Tag")
    for name in ("tag", "Tag ", "tág", "TAG"):
        answer = api.post(f"/api/v1/vms/{vm.pk}/snapshot", {"name": name}, format="json")
        print(repr(name), answer.status_code)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "already_exists", "name")


def test_a_running_vm_with_uefi_is_refused_with_the_way_out_and_has_one_when_it_is_off(
    vm: Vm, admin: User, api: APIClient
) -> None:
    Vm.objects.filter(pk=vm.pk).update(firmware="uefi")
    for status in (VmStatus.RUNNING, VmStatus.PAUSED):
        Vm.objects.filter(pk=vm.pk).update(status=status)
        answer = api.post(f"/api/v1/vms/{vm.pk}/snapshot", {"name": "first"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert "Shut it down first" in answer.json()["detail"]
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.RUNNING)
    do(admin, vm, "vm.force-off")
    take(admin, vm, "first")
