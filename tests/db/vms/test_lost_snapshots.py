"""Snapshots that are gone from the node, or there by another hand: told, refused, never in the way for ever."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import AlreadyExists, NodeUnreachable
from panel.doctor.services import look
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms import snapshot_audit
from panel.vms.models import Snapshot, SnapshotState, Vm
from tests.db.conftest import make_node, run_task
from tests.db.vms.test_snapshots import do, domain, take, vm

__all__ = ["vm"]


def check(admin: User, vm: Vm) -> None:
    """The node's check."""
    task = run_task(registry.get("node.check").submit(admin, {}, object_id=vm.node_id))
    assert task.status == Status.DONE, task.error
    vm.refresh_from_db()


def told(vm: Vm) -> str:
    """The open problem of the VM's snapshots."""
    return "".join(Problem.objects.filter(open_key=f"vm:{vm.pk}:snapshots").values_list("text", flat=True))


def codes() -> set[tuple[str, str]]:
    """What the doctor says of snapshots."""
    return {(each.code, each.mend) for each in look() if each.code.startswith("snapshot")}


def by_hand(vm: Vm, name: str, *, external: bool = False) -> None:
    """Somebody takes a snapshot with virsh."""
    domain(vm).snapshots[name] = fake.FakeSnapshot("running", not external, domain(vm).current, external)
    domain(vm).current = name


def ask(api: APIClient, vm: Vm, verb: str, **raw: Any) -> Any:
    """The panel's answer to an operation."""
    return api.post(f"/api/v1/vms/{vm.pk}/{verb}", raw, format="json")


def failed(admin: User, vm: Vm, verb: str, **raw: Any) -> Task:
    """The operation's task, which fails."""
    task = run_task(registry.get(f"vm.{verb}").submit(admin, raw, object_id=vm.pk))
    assert task.status == Status.FAILED
    return task


def test_a_snapshot_that_is_gone_is_missing_and_can_be_forgotten(vm: Vm, admin: User, api: APIClient) -> None:
    gone, kept = take(admin, vm, "gone"), take(admin, vm, "kept")
    lost = domain(vm).snapshots.pop(Snapshot.objects.get(pk=gone).on_node)
    assert codes() == {("snapshot_missing", "vm.forget-snapshot")}
    check(admin, vm)
    assert {row.name: row.state for row in vm.snapshots.all()} == {"gone": "missing", "kept": "ready"}
    assert "“gone” is not on its node any more" in told(vm)
    refused = ask(api, vm, "revert-snapshot", snapshot=gone).json()
    assert (refused["code"], "missing on its node" in refused["detail"]) == ("wrong_state", True)
    assert "“gone”" in ask(api, vm, "add-disk", size_gib=1).json()["detail"]

    # It may come back, as with a libvirtd whose files were restored.
    domain(vm).snapshots[Snapshot.objects.get(pk=gone).on_node] = lost
    check(admin, vm)
    assert (Snapshot.objects.get(pk=gone).state, told(vm)) == (SnapshotState.READY, "")
    del domain(vm).snapshots[Snapshot.objects.get(pk=gone).on_node]
    check(admin, vm)

    do(admin, vm, "vm.forget-snapshot", snapshot=gone)
    assert (list(vm.snapshots.values_list("pk", flat=True)), told(vm), codes()) == ([kept], "", set())


def test_one_that_is_gone_since_the_last_check_says_so_when_it_is_gone_back_to(vm: Vm, admin: User) -> None:
    made = take(admin, vm, "gone")
    domain(vm).snapshots.clear()
    task = failed(admin, vm, "revert-snapshot", snapshot=made)
    assert "“gone” is not on the VM's node any more. Delete or forget it." in task.error["message"]
    assert Snapshot.objects.get().state == SnapshotState.MISSING
    do(admin, vm, "vm.delete-snapshot", snapshot=made)
    assert (vm.snapshots.count(), told(vm)) == (0, "")


def test_what_the_node_has_is_forgotten_on_an_explicit_word_alone(vm: Vm, admin: User, node: Node) -> None:
    made = take(admin, vm, "there")
    task = failed(admin, vm, "forget-snapshot", snapshot=made)
    assert "still has the snapshot “there”" in task.error["message"] and vm.snapshots.count() == 1
    fake.node(node.pk).fail("snapshots_read", NodeUnreachable(node="fake1", reason="gone"), times=9)
    do(admin, vm, "vm.forget-snapshot", snapshot=made, anyway=True)
    assert vm.snapshots.count() == 0
    # From then on it is one that nobody of ours took.
    fake.node(node.pk)._faults.clear()
    check(admin, vm)
    assert [each["external"] for each in vm.unmanaged_snapshots] == [False]


def test_a_snapshot_of_a_domain_that_is_gone_can_be_forgotten(vm: Vm, admin: User, node: Node) -> None:
    made = take(admin, vm, "there")
    fake.node(node.pk).domains.clear()
    do(admin, vm, "vm.forget-snapshot", snapshot=made)
    assert vm.snapshots.count() == 0


def test_what_was_taken_by_hand_is_told_and_refuses_by_its_name(
    vm: Vm, admin: User, api: APIClient, client: Client
) -> None:
    by_hand(vm, "before_update")
    assert codes() == {("snapshot_unmanaged", "vm.adopt-snapshot")}
    check(admin, vm)
    [kept] = api.get(f"/api/v1/vms/{vm.pk}").json()["unmanaged_snapshots"]
    assert (kept["name"], kept["external"], kept["with_memory"]) == ("before_update", False, True)
    assert "“before_update” (internal, 20" in told(vm) and "vm.adopt-snapshot" in told(vm)
    other = make_node("fake2")
    for verb, raw in (("migrate", {"node": other.name}), ("reinstall", {}), ("add-disk", {"size_gib": 1})):
        refused = ask(api, vm, verb, **raw).json()
        assert (refused["code"], "before_update" in refused["detail"]) == ("wrong_state", True), verb
    client.force_login(admin)
    page = client.get(f"/vms/{vm.pk}", secure=True).content.decode()
    assert "before_update" in page and f"/vms/{vm.pk}/do/adopt-snapshot" in page

    domain(vm).snapshots.clear()
    check(admin, vm)
    assert (vm.unmanaged_snapshots, told(vm), codes()) == ([], "", set())


def test_a_move_looks_for_what_was_taken_by_hand_since_the_last_check(vm: Vm, admin: User) -> None:
    by_hand(vm, "just_now")
    task = failed(admin, vm, "migrate", node=make_node("fake2").name)
    assert "“just_now” (taken by hand)" in task.error["message"]


def test_an_internal_one_is_adopted_and_gone_back_to_and_deleted(vm: Vm, admin: User, api: APIClient) -> None:
    take(admin, vm, "ours")
    by_hand(vm, "by_hand")
    check(admin, vm)
    made = do(admin, vm, "vm.adopt-snapshot", name="by_hand").result["snapshot"]
    row = Snapshot.objects.get(pk=made)
    assert (row.name, row.state, row.with_memory, row.vm_status, row.current) == (
        "by_hand",
        "ready",
        True,
        "running",
        True,
    )
    assert row.parent is not None and row.parent.name == "ours"
    vm.refresh_from_db()
    assert (vm.unmanaged_snapshots, told(vm)) == ([], "")
    do(admin, vm, "vm.revert-snapshot", snapshot=made)
    do(admin, vm, "vm.delete-snapshot", snapshot=made)
    assert "by_hand" not in domain(vm).snapshots
    assert failed(admin, vm, "adopt-snapshot", name="nobody").error["code"] == "not_found"


def test_an_external_one_is_not_adopted_and_nothing_goes_back_below_it(vm: Vm, admin: User, api: APIClient) -> None:
    made = take(admin, vm, "ours")
    by_hand(vm, "overlay", external=True)
    assert "external snapshot" in failed(admin, vm, "adopt-snapshot", name="overlay").error["message"]
    check(admin, vm)
    for verb, raw in (
        ("adopt-snapshot", {"name": "overlay"}),
        ("revert-snapshot", {"snapshot": made}),
        ("snapshot", {"name": "more"}),
    ):
        refused = ask(api, vm, verb, **raw).json()
        assert (refused["code"], "blockcommit" in refused["detail"]) == ("wrong_state", True), verb
    assert ("snapshot_unmanaged", "") in codes()


@pytest.mark.parametrize("name", ["with blank", "-x", "a/b"])
def test_a_name_that_the_agent_cannot_take_is_not_adopted(vm: Vm, api: APIClient, name: str) -> None:
    assert ask(api, vm, "adopt-snapshot", name=name).json()["field"] == "name"


def test_a_snapshot_that_no_task_is_at_any_more_can_be_deleted(vm: Vm, admin: User) -> None:
    made = take(admin, vm, "stray")
    Snapshot.objects.update(state=SnapshotState.DELETING)
    check(admin, vm)
    assert Snapshot.objects.get().state == SnapshotState.FAILED and "“stray” was not deleted" in told(vm)
    assert ("snapshot_left", "vm.delete-snapshot") in codes()
    do(admin, vm, "vm.delete-snapshot", snapshot=made)
    assert (vm.snapshots.count(), told(vm)) == (0, "")


def test_a_node_that_did_not_look_says_nothing_of_snapshots(vm: Vm, admin: User) -> None:
    take(admin, vm, "kept")
    snapshot_audit.record_all([vm.pk], {str(vm.uuid): vm.pk}, None)
    assert Snapshot.objects.get().state == SnapshotState.READY


def test_one_whose_name_the_database_takes_for_another_s_is_not_taken_for_it(vm: Vm, admin: User) -> None:
    for name in ("Before", "before"):
        by_hand(vm, name)
    first = do(admin, vm, "vm.adopt-snapshot", name="Before").result["snapshot"]
    with pytest.raises(AlreadyExists):
        registry.get("vm.adopt-snapshot").submit(admin, {"name": "before"}, object_id=vm.pk)
    assert list(vm.snapshots.values_list("pk", "name")) == [(first, "Before")]
