"""Snapshots behave alike on the fake node and on the real agent."""

from __future__ import annotations

import uuid

import pytest

from nodeagent.protocol import Nothing, audit, guest, host, migration, snapshot
from panel.core.errors import CommandFailed
from tests.contract.subjects import Subject
from tests.contract.test_hosts import create, refusal


def take(node: Subject, spec: host.DomainSpec, name: str, *, with_memory: bool = False) -> snapshot.SnapshotState:
    """A snapshot of the VM."""
    return node.call(snapshot.SnapshotCreate(uuid=spec.uuid, name=name, with_memory=with_memory))


def listed(node: Subject, spec: host.DomainSpec) -> dict[str, snapshot.SnapshotState]:
    """The VM's snapshots by name."""
    return {each.name: each for each in node.call(snapshot.SnapshotsRead(uuid=spec.uuid)).snapshots}


@pytest.mark.covers("snapshot_create", "snapshots_read")
def test_snapshots_are_a_tree_and_the_last_is_the_current_one(node: Subject) -> None:
    spec = create(node)
    assert listed(node, spec) == {}
    first = take(node, spec, "first")
    assert first == snapshot.SnapshotState("first", True, "shut off", with_memory=False, parent=None, current=True)
    node.call(host.HostStart(uuid=spec.uuid))
    second = take(node, spec, "second", with_memory=True)
    assert second == snapshot.SnapshotState("second", True, "running", with_memory=True, parent="first", current=True)
    assert {each.name: each.current for each in listed(node, spec).values()} == {"first": False, "second": True}


def test_taking_one_of_the_same_name_again_is_success(node: Subject) -> None:
    spec = create(node)
    assert take(node, spec, "once") == take(node, spec, "once")
    assert list(listed(node, spec)) == ["once"]


def test_memory_is_of_what_runs_and_only_of_that(node: Subject) -> None:
    spec = create(node)
    assert refusal(node, snapshot.SnapshotCreate(uuid=spec.uuid, name="s", with_memory=True)) == "guest_stopped"
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, snapshot.SnapshotCreate(uuid=spec.uuid, name="s")) == "in_use"
    assert listed(node, spec) == {}


def test_a_running_uefi_has_none_until_it_is_off(node: Subject) -> None:
    spec = create(node, settings=host.MachineSettings(firmware="uefi"))
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, snapshot.SnapshotCreate(uuid=spec.uuid, name="s", with_memory=True)) == "in_use"
    node.call(host.HostStop(uuid=spec.uuid))
    assert take(node, spec, "s").state == "shut off"


@pytest.mark.covers("snapshot_revert", "snapshot_create")
def test_a_domain_is_afterwards_in_the_state_of_its_snapshot(node: Subject) -> None:
    spec = create(node)
    take(node, spec, "off")
    node.call(host.HostStart(uuid=spec.uuid))
    take(node, spec, "on", with_memory=True)
    assert node.call(snapshot.SnapshotRevert(uuid=spec.uuid, name="off")).state == "shut off"
    assert [each.name for each in listed(node, spec).values() if each.current] == ["off"]
    assert node.call(snapshot.SnapshotRevert(uuid=spec.uuid, name="on")).state == "running"
    assert node.call(host.HostInfo(uuid=spec.uuid)).state == "running"


def test_what_follows_a_reverted_snapshot_is_its_child(node: Subject) -> None:
    spec = create(node)
    for name in ("root", "left"):
        take(node, spec, name)
    node.call(snapshot.SnapshotRevert(uuid=spec.uuid, name="root"))
    assert take(node, spec, "right").parent == "root"
    assert {each.name: each.parent for each in listed(node, spec).values()}["left"] == "root"


def test_an_absent_snapshot_cannot_be_gone_back_to(node: Subject) -> None:
    spec = create(node)
    assert refusal(node, snapshot.SnapshotRevert(uuid=spec.uuid, name="none")) == "invalid_params"


@pytest.mark.covers("snapshot_delete", "snapshot_create")
def test_children_of_a_deleted_snapshot_follow_the_one_before_it(node: Subject) -> None:
    spec = create(node)
    for name in ("a", "b", "c"):
        take(node, spec, name)
    for _ in range(2):
        assert node.call(snapshot.SnapshotDelete(uuid=spec.uuid, name="b")) == Nothing()
    assert {each.name: each.parent for each in listed(node, spec).values()} == {"a": None, "c": "a"}
    node.call(snapshot.SnapshotDelete(uuid=spec.uuid, name="c"))
    assert listed(node, spec)["a"].current


def test_deleting_one_of_an_absent_domain_is_success(node: Subject) -> None:
    assert node.call(snapshot.SnapshotDelete(uuid=str(uuid.uuid4()), name="s")) == Nothing()


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "../x", "x" * 65, "d'r"])
def test_a_name_that_could_mean_something_else_is_refused(node: Subject, name: str) -> None:
    spec = create(node)
    for request in (snapshot.SnapshotCreate, snapshot.SnapshotDelete, snapshot.SnapshotRevert):
        assert refusal(node, request(uuid=spec.uuid, name=name)) == "invalid_params"


@pytest.mark.covers("host_delete", "snapshot_create")
def test_a_domain_is_deleted_with_its_snapshots(node: Subject) -> None:
    spec = create(node)
    take(node, spec, "kept")
    assert node.call(host.HostDelete(uuid=spec.uuid)) == Nothing()
    assert not node.call(host.HostInfo(uuid=spec.uuid)).exists


@pytest.mark.covers("hosts_audit", "snapshots_read")
def test_the_comparison_tells_of_all_snapshots_and_which_are_overlays(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    take(node, spec, "ours", with_memory=True)
    node.snapshot_by_hand(spec.uuid, "by_hand")
    node.snapshot_by_hand(spec.uuid, "overlay", external=True)
    [kept] = node.call(audit.HostsAudit(specs=[spec])).kept or []
    assert kept.uuid == spec.uuid and all(each.created_at > 0 for each in kept.snapshots)
    assert {each.name: (each.external, each.with_memory, each.parent) for each in kept.snapshots} == {
        "ours": (False, True, None),
        "by_hand": (False, True, "ours"),
        "overlay": (True, False, None),
    }
    assert {each.state for each in kept.snapshots} == {"running"}
    assert node.call(snapshot.SnapshotsRead(uuid=spec.uuid)).snapshots == kept.snapshots


@pytest.mark.covers("host_rename", "migration_describe")
def test_what_cannot_be_done_with_snapshots_says_which_there_are(node: Subject) -> None:
    spec = create(node)
    node.snapshot_by_hand(spec.uuid, "by_hand")
    assert node.call(migration.MigrationDescribe(uuid=spec.uuid)).snapshot_names == ["by_hand"]
    with pytest.raises(CommandFailed) as refused:
        node.call(guest.HostRename(uuid=spec.uuid, name="other"))
    assert refused.value.data["agent_code"] == "in_use" and "by_hand" in refused.value.message
