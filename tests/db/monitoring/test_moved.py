"""VMs that somebody moved by hand: where one ran last its newest data are, and nothing older is started or repaired."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from nodeagent.storage import place
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.doctor import services as doctor
from panel.images.models import Image, Iso
from panel.monitoring import services
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Vm, VmStatus
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import event, full_report, told
from vmwatch import wire


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A running VM with a disk and a seed on the first node."""
    raw = {"name": "web1", "image": "small", "flavor": "tiny", "password": "correct horse"}
    return Vm.objects.get(pk=run_task(registry.get("vm.create").submit(admin, raw)).object_id)


@pytest.fixture
def other(vm: Vm) -> Node:
    """The second node."""
    return make_node("fake2")


def open_problems() -> list[str]:
    """What is open, by their keys without the VM's number."""
    keys = Problem.objects.filter(open_key__isnull=False).values_list("open_key", flat=True)
    return sorted(str(key).split(":")[2] for key in keys)


def move(vm: Vm, other: Node, *, undefine: bool = True, state: str = VmStatus.SHUT_OFF) -> None:
    """As by `virsh migrate --persistent --copy-storage-all`: its domain and its disk are on the other node now."""
    here, there = fake.node(vm.node_id), fake.node(other.pk)
    domain = here.domains[str(vm.uuid)]
    there.domains[str(vm.uuid)] = fake.FakeDomain(domain.spec, state)
    volume = vm.disks.get().volume
    there.files[volume.place] = fake.FakeVolume("qcow2", volume.size_bytes)
    domain.state = VmStatus.SHUT_OFF
    if undefine:
        del here.domains[str(vm.uuid)]


def tell(vm: Vm, other: Node, *, gone: str) -> None:
    """vmwatch tells of it: the VM goes here, runs there, and then is off there."""
    services.take_messages(
        [event(vm, gone, 1), event(vm, wire.RUNNING, 1, node=other), event(vm, wire.SHUT_OFF, 2, node=other)]
    )


def settle(admin: User, vm: Vm, **raw: object) -> Task:
    """A person says where it lives."""
    return run_task(registry.get("vm.settle").submit(admin, raw, object_id=vm.pk))


@pytest.mark.parametrize("gone", [wire.MISSING, wire.SHUT_OFF])
def test_where_it_ran_last_is_remembered_when_it_goes_off(api: APIClient, vm: Vm, other: Node, gone: str) -> None:
    move(vm, other, undefine=gone == wire.MISSING)
    tell(vm, other, gone=gone)
    assert "duplicate" in open_problems()
    text = Problem.objects.get(open_key=f"vm:{vm.pk}:duplicate").text
    assert f"ran last on “{other.name}”" in text and f"belongs to “{vm.node.name}”" in text
    for method, path in (("post", "/start"), ("post", "/repair"), ("delete", ""), ("post", "/clone")):
        raw = {"name": "web2", "password": "correct horse"} if path == "/clone" else {}
        answer = getattr(api, method)(f"/api/v1/vms/{vm.pk}{path}", raw)
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert "moved by hand" in answer.json()["detail"]


def test_it_is_forgotten_when_the_vm_runs_on_its_own_node_again(vm: Vm, other: Node) -> None:
    move(vm, other, undefine=False)
    tell(vm, other, gone=wire.SHUT_OFF)
    services.take_messages([event(vm, wire.RUNNING, 2)])
    assert open_problems() == [] and not Vm.objects.get(pk=vm.pk).seen_elsewhere


def test_it_is_active_there_again_when_somebody_starts_it_there(vm: Vm, other: Node) -> None:
    move(vm, other, undefine=False)
    tell(vm, other, gone=wire.SHUT_OFF)
    services.take_messages([event(vm, wire.RUNNING, 3, node=other)])
    assert vm.sightings.get().status == VmStatus.RUNNING
    # Without a domain that stays: what was transient is gone when it stops, and its disks are still there.
    services.take_messages([full_report(other, [], 4)])
    assert vm.sightings.get().status == VmStatus.MISSING


@pytest.mark.parametrize("known", [True, False])
def test_such_a_vm_is_told_to_live_where_it_is_now(
    api: APIClient, admin: User, vm: Vm, other: Node, known: bool
) -> None:
    left, path = vm.node, vm.disks.get().volume.place
    move(vm, other)
    if known:
        tell(vm, other, gone=wire.MISSING)
    else:
        Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    ended = settle(admin, vm, node=other.name)
    assert ended.status == Status.DONE, ended.error
    vm.refresh_from_db()
    assert (vm.node, vm.status, vm.seen_elsewhere) == (other, VmStatus.SHUT_OFF, False)
    assert vm.disks.get().volume.node == other
    assert open_problems() == []
    # The old copy is named, and not deleted.
    assert path in fake.node(left.pk).files
    assert place(vm.seed_ref) in fake.node(other.pk).seeds
    assert str(vm.uuid) in fake.node(other.pk).guards
    assert api.post(f"/api/v1/vms/{vm.pk}/start").status_code == 202


def test_the_old_copy_is_deleted_where_that_is_asked_for(admin: User, vm: Vm, other: Node) -> None:
    left, path = vm.node, vm.disks.get().volume.place
    move(vm, other, undefine=False)
    tell(vm, other, gone=wire.SHUT_OFF)
    ended = settle(admin, vm, node=other.name, delete_others=True)
    assert ended.status == Status.DONE, ended.error
    here, there = fake.node(left.pk), fake.node(other.pk)
    assert (path in here.files, path in there.files) == (False, True)
    assert (str(vm.uuid) in here.domains, str(vm.uuid) in there.domains) == (False, True)


@pytest.mark.parametrize("state", [VmStatus.RUNNING, VmStatus.SAVED])
def test_whatever_it_does_there_it_is_filtered_there_and_starts_with_that_node(
    admin: User, vm: Vm, other: Node, state: str
) -> None:
    left = vm.node
    assert run_task(registry.get("vm.autostart").submit(admin, {"enabled": True}, object_id=vm.pk)).error is None
    move(vm, other, state=state)
    there = fake.node(other.pk).domains[str(vm.uuid)]
    there.spec = dataclasses.replace(there.spec, autostart=False)
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    ended = settle(admin, vm, node=other.name)
    assert ended.status == Status.DONE, ended.error
    assert (Vm.objects.get(pk=vm.pk).status, there.state, there.spec.autostart) == (state, state, True)
    assert place(vm.seed_ref) in fake.node(other.pk).seeds
    assert (str(vm.uuid) in fake.node(left.pk).guards, str(vm.uuid) in fake.node(other.pk).guards) == (False, True)


def test_a_copy_that_was_left_half_way_is_found_when_it_is_asked_for_again(admin: User, vm: Vm, other: Node) -> None:
    left, path = vm.node, vm.disks.get().volume.place
    move(vm, other)
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    for delete in (False, True):
        assert settle(admin, vm, node=other.name, delete_others=delete).status == Status.DONE
    assert (path in fake.node(left.pk).files, path in fake.node(other.pk).files) == (False, True)
    assert place(vm.seed_ref) not in fake.node(left.pk).seeds


@pytest.mark.parametrize("delete", [False, True])
def test_a_seed_alone_does_not_stay_where_the_vm_was(admin: User, vm: Vm, other: Node, delete: bool) -> None:
    """Nobody would find it there, and it holds the guest's password."""
    left = vm.node
    move(vm, other)
    del fake.node(left.pk).files[vm.disks.get().volume.place]
    tell(vm, other, gone=wire.MISSING)
    assert place(vm.seed_ref) in fake.node(left.pk).seeds
    assert settle(admin, vm, node=other.name, delete_others=delete).status == Status.DONE
    assert fake.node(left.pk).seeds == {} and place(vm.seed_ref) in fake.node(other.pk).seeds


def test_what_both_nodes_see_is_not_deleted(admin: User, vm: Vm, other: Node) -> None:
    here, there = fake.node(vm.node_id), fake.node(other.pk)
    there.files, there.marks, there.signs = here.files, here.marks, here.signs
    move(vm, other, undefine=False)
    tell(vm, other, gone=wire.SHUT_OFF)
    ended = settle(admin, vm, node=other.name, delete_others=True)
    assert ended.status == Status.DONE, ended.error
    assert vm.disks.get().volume.place in there.files


def test_a_vm_whose_domain_is_gone_too_lives_where_its_disks_are(admin: User, vm: Vm, other: Node) -> None:
    move(vm, other)
    fake.node(other.pk).domains.clear()
    tell(vm, other, gone=wire.MISSING)
    assert settle(admin, vm, node=other.name).status == Status.DONE
    vm.refresh_from_db()
    assert (vm.node, vm.status) == (other, VmStatus.SHUT_OFF)
    assert place(fake.node(other.pk).domains[str(vm.uuid)].spec.disks[0].volume) == vm.disks.get().volume.place


def test_a_node_with_neither_domain_nor_disks_is_refused(admin: User, vm: Vm, other: Node) -> None:
    fake.node(vm.node_id).domains.clear()
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    ended = settle(admin, vm, node=other.name)
    assert ended.status == Status.FAILED and "neither a domain" in str(ended.error)
    assert Vm.objects.get(pk=vm.pk).node == vm.node


@pytest.mark.parametrize("verb", ["repair", "delete"])
def test_repair_and_delete_look_on_every_node_before_they_write(admin: User, vm: Vm, other: Node, verb: str) -> None:
    """Also where vmwatch told of nothing."""
    files = sorted(fake.node(vm.node_id).files)
    move(vm, other)
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    ended = run_task(registry.get(f"vm.{verb}").submit(admin, {}, object_id=vm.pk))
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "wrong_state")
    assert (sorted(fake.node(vm.node_id).files), fake.node(vm.node_id).domains) == (files, {})
    assert Vm.objects.get(pk=vm.pk).seen_elsewhere and "duplicate" in open_problems()


UNSEEN: dict[str, dict[str, object]] = {
    "add-disk": {"size_gib": 1},
    "add-interface": {},
    "add-address": {},
    "grow-disk": {"disk": "vda", "size_gib": 30},
    "change-disk": {"disk": "vda", "cache": "writeback"},
    "change-interface": {"guarded": False},
    "mount-iso": {"iso": "installer"},
    "clone": {"name": "web2", "password": "correct horse"},
    "reinstall": {"password": "another horse"},
    "rescue": {"image": "small", "password": "another horse"},
    "snapshot": {"name": "before"},
}


@pytest.mark.parametrize("verb", sorted(UNSEEN))
def test_before_the_panel_knows_nothing_makes_a_second_domain_or_uses_the_older_disks(
    admin: User, vm: Vm, other: Node, image: Image, verb: str
) -> None:
    files, size = sorted(fake.node(vm.node_id).files), vm.disks.get().volume.size_gib
    Iso.objects.create(
        name="installer", title="Installer", file_name=image.file_name, sha256=image.sha256, size_bytes=image.size_bytes
    )
    move(vm, other, state=VmStatus.RUNNING)
    more = {"interface": vm.interfaces.get().mac} if verb == "change-interface" else {}
    ended = run_task(registry.get(f"vm.{verb}").submit(admin, {**UNSEEN[verb], **more}, object_id=vm.pk))
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "wrong_state"), ended.error
    assert (sorted(fake.node(vm.node_id).files), fake.node(vm.node_id).domains) == (files, {})
    assert vm.disks.get().volume.size_gib == size
    assert fake.node(other.pk).domains[str(vm.uuid)].state == VmStatus.RUNNING


def test_the_doctor_advises_what_loses_nothing(
    admin: User, vm: Vm, other: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SECOND_LOOK_SECONDS", 0.0)
    move(vm, other)
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.MISSING)
    assert {(each.code, each.mend) for each in doctor.examine()} >= {("domain_missing", "vm.settle")}
    assert "file_foreign" not in [each.code for each in doctor.examine()]
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.RUNNING)
    tell(vm, other, gone=wire.MISSING)
    fake.node(other.pk).domains.clear()
    found = {each.code: each.mend for each in doctor.examine()}
    assert (found["moved"], found["domain_missing"]) == ("vm.settle", "vm.settle")
    assert "file_foreign" not in found


def test_a_domain_that_somebody_removed_is_a_problem_until_it_is_there_again(
    admin: User, vm: Vm, node: Node, run_tasks: Callable[[], None]
) -> None:
    fake.node(node.pk).domains.clear()
    services.take_messages([event(vm, wire.MISSING, 1)])
    assert open_problems() == ["missing"]
    assert run_task(registry.get("vm.repair").submit(admin, {}, object_id=vm.pk)).status == Status.DONE
    assert open_problems() == []
    # As a check of the node finds it, when vmwatch was not there.
    fake.node(node.pk).domains.clear()
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    assert open_problems() == ["missing"]
    services.take_messages(
        [full_report(node, [told(vm, wire.MISSING)], 2), full_report(node, [told(vm, wire.RUNNING)], 3)]
    )
    assert open_problems() == []
