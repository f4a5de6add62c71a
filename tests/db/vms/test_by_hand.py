"""What somebody made of a VM on its node by hand is neither lost nor written over: operations leave it, or refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol import host
from nodeagent.storage import place
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import Drifted
from panel.images.models import Image, Iso
from panel.monitoring.services import take_messages
from panel.tasks import registry
from panel.tasks.models import Status, Task, TaskLock
from panel.vms.models import Vm
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import full_report
from tests.refs import ref
from vmwatch import wire

MADE = {"name": "web1", "image": "small", "flavor": "tiny", "password": "correct horse"}
LEAVE: dict[str, dict[str, Any]] = {
    "add-disk": {"size_gib": 1},
    "add-interface": {},
    "add-address": {},
    "change-interface": {"guarded": False},
    "change-disk": {"disk": "vda", "read_iops_sec": 500},
    "mount-iso": {"iso": "installer"},
    "configure": {"title": "Shop"},
    "autostart": {"enabled": True},
    "suspend": {},
}
REFUSE: dict[str, dict[str, Any]] = {
    "change-disk": {"disk": "vda", "cache": "writeback"},
    "grow-disk": {"disk": "vda", "size_gib": 30},
    "snapshot": {"name": "before"},
    "clone": {"name": "web2", "password": "correct horse"},
    "reinstall": {"password": "another horse"},
    "rescue": {"image": "small", "password": "another horse"},
    "migrate": {},
}


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM that runs."""
    Iso.objects.create(
        name="installer", title="Installer", file_name=image.file_name, sha256=image.sha256, size_bytes=image.size_bytes
    )
    task = run_task(registry.get("vm.create").submit(admin, MADE))
    make_node("fake2")
    return Vm.objects.get(pk=task.object_id)


def domain(vm: Vm) -> fake.FakeDomain:
    """The VM's domain."""
    return fake.node(vm.node_id).domains[str(vm.uuid)]


def go_on_in_an_overlay(vm: Vm) -> str:
    """As after `virsh snapshot-create-as --disk-only`, beside a disk of the administrator's; answers the new file."""
    held = domain(vm)
    first = held.spec.disks[0]
    path = place(first.volume).replace(".qcow2", ".by-hand")
    new = dataclasses.replace(first, volume=ref(path))
    mine = host.DiskSpec(volume=ref("/srv/mine.img"), format="raw", target="vdx")
    fake.node(vm.node_id).files[path] = fake.FakeVolume("qcow2", 1024**3, backing=place(first.volume))
    held.spec = dataclasses.replace(held.spec, disks=[new, mine])
    held.running = None
    return path


def ask(admin: User, vm: Vm, verb: str, raw: dict[str, Any]) -> Task:
    """Ask for it and carry it to its end."""
    given = {**raw, "interface": vm.interfaces.get().mac} if verb == "change-interface" else raw
    return run_task(registry.get(f"vm.{verb}").submit(admin, given, object_id=vm.pk))


def check(admin: User, vm: Vm) -> None:
    """The node is compared with the panel."""
    run_task(registry.get("node.check").submit(admin, {}, object_id=vm.node_id))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("verb", sorted(LEAVE))
def test_what_changes_something_else_leaves_it(admin: User, vm: Vm, verb: str, known: bool) -> None:
    path = go_on_in_an_overlay(vm)
    if known:
        check(admin, vm)
    ended = ask(admin, vm, verb, LEAVE[verb])
    assert ended.status == Status.DONE, ended.error
    for spec in (domain(vm).spec, domain(vm).now):
        targets = {disk.target: place(disk.volume) for disk in spec.disks}
        assert (targets["vda"], targets["vdx"]) == (path, "/srv/mine.img")


@pytest.mark.parametrize("verb", sorted(REFUSE))
def test_what_would_not_heed_it_is_refused_when_its_turn_comes(admin: User, vm: Vm, verb: str) -> None:
    path = go_on_in_an_overlay(vm)
    before = (domain(vm).spec, sorted(fake.node(vm.node_id).files))
    ended = ask(admin, vm, verb, REFUSE[verb])
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (Status.FAILED, "drifted"), ended.error
    assert path in ended.error["message"] and "blockcommit web1 vda" in ended.error["message"]
    assert "lose" in ended.error["message"]
    assert not Task.objects.filter(status=Status.STUCK).exists() and not TaskLock.objects.exists()
    assert (domain(vm).spec, sorted(fake.node(vm.node_id).files)) == before
    assert domain(vm).state == "running"


@pytest.mark.parametrize("verb", sorted(REFUSE))
def test_what_is_known_is_refused_at_once(admin: User, vm: Vm, verb: str) -> None:
    go_on_in_an_overlay(vm)
    check(admin, vm)
    with pytest.raises(Drifted) as caught:
        registry.get(f"vm.{verb}").submit(admin, REFUSE[verb], object_id=vm.pk)
    assert "disk vda" in [each["field"] for each in caught.value.data["differences"]]


def test_a_disk_that_goes_on_elsewhere_is_not_removed(admin: User, vm: Vm) -> None:
    ask(admin, vm, "add-disk", {"size_gib": 1})
    held = domain(vm)
    files = sorted(fake.node(vm.node_id).files)
    disks = [
        disk if disk.target == "vda" else dataclasses.replace(disk, volume=ref(f"{place(disk.volume)}.by-hand"))
        for disk in held.now.disks
    ]
    held.spec, held.running = dataclasses.replace(held.spec, disks=disks), None
    ended = ask(admin, vm, "remove-disk", {"disk": "vdb"})
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "drifted")
    assert (held.now.disks, sorted(fake.node(vm.node_id).files)) == (disks, files)


def test_a_setting_that_somebody_changed_is_adopted_or_repaired_before_it_is_changed(
    api: APIClient, admin: User, vm: Vm, run_tasks: Callable[[], None]
) -> None:
    held = domain(vm)
    held.spec, held.running = dataclasses.replace(held.spec, vcpus=3), held.spec
    ended = ask(admin, vm, "configure", {"vcpus": 2})
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "drifted")
    assert (held.spec.vcpus, Vm.objects.get(pk=vm.pk).vcpus) == (3, 1)
    check(admin, vm)
    answer = api.post(f"/api/v1/vms/{vm.pk}/configure", {"vcpus": 2})
    assert (answer.status_code, answer.json()["code"]) == (409, "drifted")
    assert "vcpus: 3 on the node, 1 here" in answer.json()["detail"] and "Adopt it" in answer.json()["detail"]
    assert ask(admin, vm, "configure", {"title": "Shop"}).status == Status.DONE
    assert (held.spec.vcpus, held.spec.title) == (3, "Shop")
    # Who first asks for the end of it need not wait for that.
    assert api.post(f"/api/v1/vms/{vm.pk}/adopt").status_code == 202
    registry.get("vm.configure").submit(admin, {"vcpus": 2}, object_id=vm.pk, queue=True)
    run_tasks()
    assert (held.spec.vcpus, Vm.objects.get(pk=vm.pk).vcpus) == (2, 2)


def test_a_new_disk_takes_no_place_that_somebody_took(admin: User, vm: Vm) -> None:
    held = domain(vm)
    mine = host.DiskSpec(volume=ref("/srv/mine.img"), format="raw", target="vdb")
    held.spec = dataclasses.replace(held.spec, disks=[*held.spec.disks, mine])
    check(admin, vm)
    assert ask(admin, vm, "add-disk", {"size_gib": 1}).result["disk"] == "vdc"


WAYS = {"backup": "virsh domjobabort web1", "migration": "virsh domjobabort web1", "block job": "virsh blockjob web1"}


@pytest.mark.parametrize("job", sorted(WAYS))
@pytest.mark.parametrize("known", [True, False])
def test_what_is_under_way_by_hand_refuses_in_words_what_libvirt_would_and_nothing_else(
    admin: User, vm: Vm, api: APIClient, job: str, known: bool
) -> None:
    """At the call when a full report told of it, else when the task's turn comes."""
    domain(vm).job = job
    if known:
        see(vm, 1, job)
    asked = {"snapshot": {"name": "before"}, "grow-disk": {"disk": "vda", "size_gib": 30}, "migrate": {}}
    for operation, raw in asked.items():
        answer = api.post(f"/api/v1/vms/{vm.pk}/{operation}", raw, format="json")
        if known:
            assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state"), answer.json()
            told = str(answer.json())
        else:
            task = run_task(Task.objects.latest("pk"))
            assert (task.status, (task.error or {}).get("code")) == (Status.FAILED, "wrong_state"), operation
            told = str(task.error)
        assert WAYS[job] in told
    assert not vm.snapshots.exists()
    title = api.post(f"/api/v1/vms/{vm.pk}/configure", {"title": "Shop"}, format="json")
    assert title.status_code == (409 if known and job == "migration" else 202)
    if title.status_code == 202:
        assert (run_task(Task.objects.latest("pk")).status == Status.DONE) is (job != "migration")
    domain(vm).job = ""
    see(vm, 2, "")
    assert run_task(registry.get("vm.snapshot").submit(admin, {"name": "a"}, object_id=vm.pk)).status == Status.DONE


def test_what_a_task_has_under_way_is_nobodys_by_hand(admin: User, vm: Vm) -> None:
    TaskLock.objects.create(task=Task.objects.latest("pk"), kind="vm", object_id=vm.pk, exclusive=True)
    see(vm, 1, "migration")
    assert not Vm.objects.get(pk=vm.pk).observed_job


def see(vm: Vm, sequence: int, job: str) -> None:
    """A full report of the VM's node comes, in which that is under way with it."""
    told = wire.DomainState(str(vm.uuid), vm.name, wire.RUNNING, job=job)
    take_messages([full_report(vm.node, [told], sequence)])
