"""What a VM's mode forbids: snapshots hold its disks and name, a rescue system has its devices."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure, PanelError
from panel.doctor.services import look
from panel.images.models import Image
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskStep
from panel.vms.machine import settings_of
from panel.vms.models import Disk, Installation, InstallStage, Vm, VmStatus
from tests.db.conftest import make_node, run_task


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM that is off, with a second node that could take it."""
    make_node("fake2")
    raw = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
    task = run_task(registry.get("vm.create").submit(admin, raw))
    carry_out(admin, "vm.force-off", task.object_id)
    return Vm.objects.get(pk=task.object_id)


def carry_out(admin: User, name: str, vm_id: int | None, /, **raw: Any) -> Task:
    """Ask for it, and carry it out."""
    task = run_task(registry.get(name).submit(admin, raw, object_id=vm_id))
    assert task.status == Status.DONE, task.error
    return task


def refusal(admin: User, name: str, vm: Vm, /, **raw: Any) -> str:
    """The code, with the state, of what it is refused with before anything is touched."""
    with pytest.raises(PanelError) as refused:
        registry.get(name).submit(admin, raw, object_id=vm.pk)
    return f"{refused.value.code} {refused.value.data.get('state', '')}".strip()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("vm.migrate", {}),
        ("vm.rename", {"name": "web2"}),
        ("vm.reinstall", {"password": "another horse"}),
        ("vm.add-disk", {"size_gib": 1}),
        ("vm.grow-disk", {"disk": "vda", "size_gib": 20}),
        ("vm.remove-disk", {"disk": "vda"}),
    ],
)
def test_what_would_change_what_snapshots_hold_is_refused(admin: User, vm: Vm, name: str, raw: dict[str, Any]) -> None:
    carry_out(admin, "vm.snapshot", vm.pk, name="before")
    assert refusal(admin, name, vm, **raw) == "wrong_state with snapshots"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("vm.migrate", {}),
        ("vm.snapshot", {"name": "now"}),
        ("vm.add-disk", {"size_gib": 1}),
        ("vm.add-interface", {}),
        ("vm.reinstall", {"password": "another horse"}),
    ],
)
def test_what_meets_a_rescue_system_is_refused(admin: User, vm: Vm, name: str, raw: dict[str, Any]) -> None:
    carry_out(admin, "vm.rescue", vm.pk, image="small", password="another horse")
    assert refusal(admin, name, vm, **raw) == "wrong_state rescue"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("vm.start", {}),
        ("vm.restart", {}),
        ("vm.reinstall", {"password": "another horse"}),
        ("vm.rescue", {"image": "small", "password": "another horse"}),
        ("vm.clone", {"name": "copy", "password": "another horse"}),
    ],
)
def test_what_would_start_a_suspended_vm_or_a_copy_of_it_is_refused(
    admin: User, vm: Vm, name: str, raw: dict[str, Any]
) -> None:
    carry_out(admin, "vm.suspend", vm.pk, reason="not paid for")
    assert refusal(admin, name, vm, **raw) == "suspended"


STARTING = [
    ("vm.start", {}),
    ("vm.restart", {}),
    ("vm.reinstall", {"password": "another horse"}),
    ("vm.rescue", {"image": "small", "password": "another horse"}),
    ("vm.finish-install", {}),
]


@pytest.mark.parametrize(("name", "raw"), STARTING)
def test_what_would_start_a_vm_that_another_node_runs_is_refused(
    admin: User, vm: Vm, name: str, raw: dict[str, Any]
) -> None:
    Installation.objects.create(vm=vm, stage=InstallStage.FINISHING)
    Vm.objects.update(seen_elsewhere=True)
    assert refusal(admin, name, vm, **raw) == "wrong_state on another node"


@pytest.mark.parametrize(("name", "raw"), STARTING)
def test_a_copy_that_shows_itself_while_a_task_waits_is_not_joined_by_a_second(
    admin: User, vm: Vm, name: str, raw: dict[str, Any]
) -> None:
    if name == "vm.finish-install":
        Installation.objects.create(vm=vm, stage=InstallStage.FINISHING)
    task = registry.get(name).submit(admin, raw, object_id=vm.pk)
    Vm.objects.update(seen_elsewhere=True)
    ended = run_task(task)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "wrong_state")
    assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.SHUT_OFF


def test_a_paused_vm_does_not_go_on_beside_its_copy(admin: User, vm: Vm) -> None:
    carry_out(admin, "vm.start", vm.pk)
    carry_out(admin, "vm.pause", vm.pk)
    task = registry.get("vm.resume").submit(admin, {}, object_id=vm.pk)
    Vm.objects.update(seen_elsewhere=True)
    assert run_task(task).status == Status.FAILED
    assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.PAUSED


def test_a_vm_that_ran_before_its_rescue_is_not_started_beside_its_copy(admin: User, vm: Vm) -> None:
    carry_out(admin, "vm.start", vm.pk)
    task = registry.get("vm.rescue").submit(admin, {"image": "small", "password": "another horse"}, object_id=vm.pk)

    class Copy(engine.Observer):
        """The copy shows itself when the VM has been shut down."""

        def stored(self, task: Task, step: TaskStep) -> None:
            """The moment."""
            if step.name == "stop_own":
                Vm.objects.update(seen_elsewhere=True)

    assert run_task(task, Copy()).status == Status.FAILED
    assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.SHUT_OFF
    assert "another node runs" in "".join(task.log.values_list("text", flat=True))


@pytest.mark.parametrize("name", ["vm.rescue", "vm.reinstall"])
@pytest.mark.parametrize(
    ("ahead", "behind", "state"),
    [
        ("vm.start", None, VmStatus.RUNNING),
        ("vm.force-off", None, VmStatus.SHUT_OFF),
        ("vm.start", "vm.suspend", VmStatus.SHUT_OFF),
    ],
)
def test_what_turns_back_leaves_the_vm_as_it_was_when_its_turn_came_unless_it_is_kept_off_by_now(
    admin: User, vm: Vm, name: str, ahead: str, behind: str | None, state: str
) -> None:
    if ahead == "vm.force-off":
        carry_out(admin, "vm.start", vm.pk)
    raw = {"image": "small", "password": "another horse"}
    first, second = (
        registry.get(each).submit(admin, values, object_id=vm.pk, queue=True)
        for each, values in ((ahead, {}), (name, raw))
    )
    run_task(first)

    class Meanwhile(engine.Observer):
        """It is asked for once the second is at work."""

        def before(self, task: Task, step: TaskStep) -> None:
            """The moment."""
            if behind is not None and not Task.objects.filter(operation=behind).exists():
                registry.get(behind).submit(admin, {}, object_id=vm.pk, queue=True)

    fake.node(vm.node_id).fail("guest_wait", LibvirtFailure(node="fake1", command="guest_wait", text="no"))
    assert run_task(second, Meanwhile()).status == Status.FAILED
    assert fake.node(vm.node_id).domains[str(vm.uuid)].state == state
    assert look() == set()


@pytest.mark.parametrize(
    ("changes", "code"), [({"seen_elsewhere": True}, "wrong_state"), ({"suspended_at": timezone.now()}, "suspended")]
)
def test_what_happens_while_a_guest_is_shut_down_keeps_it_from_being_started_again(
    admin: User, vm: Vm, changes: dict[str, Any], code: str
) -> None:
    carry_out(admin, "vm.start", vm.pk)

    class Meanwhile(engine.Observer):
        """It happens after the shutdown."""

        def stored(self, task: Task, step: TaskStep) -> None:
            """The moment."""
            if step.name == "shut_down":
                Vm.objects.update(**changes)

    ended = run_task(registry.get("vm.restart").submit(admin, {}, object_id=vm.pk), Meanwhile())
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, code)
    assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.SHUT_OFF


def test_a_clone_has_the_settings_and_the_disks_of_its_source(admin: User, vm: Vm) -> None:
    carry_out(admin, "vm.configure", vm.pk, cpu_weight=512, clock="localtime", max_vcpus=4)
    carry_out(admin, "vm.add-disk", vm.pk, size_gib=2, bus="scsi", cache="writeback")
    made = carry_out(admin, "vm.clone", vm.pk, name="web2", password="another horse").result["vm"]
    copy = Vm.objects.get(pk=made)
    vm.refresh_from_db()
    assert settings_of(copy) == settings_of(vm)
    columns = ("target", "bus", "cache", "position", "attached", "volume__size_gib")
    assert list(copy.disks.values_list(*columns)) == list(vm.disks.values_list(*columns))
    assert look() == set()


@pytest.mark.parametrize(
    ("name", "raw"), [("vm.clone", {"name": "web2", "password": "another horse"}), ("vm.migrate", {})]
)
def test_memory_that_a_vm_may_grow_to_needs_room_wherever_it_comes(
    admin: User, vm: Vm, name: str, raw: dict[str, Any]
) -> None:
    carry_out(admin, "vm.configure", vm.pk, max_memory_mib=6000)
    Node.objects.update(facts={"memory_mib": 8000, "cpu_count": 16})
    Node.objects.exclude(pk=vm.node_id).update(facts={"memory_mib": 5000, "cpu_count": 16})
    assert refusal(admin, name, vm, **raw) == "no_capacity"


def test_a_clone_has_no_disk_whose_removal_has_begun(admin: User, vm: Vm) -> None:
    carry_out(admin, "vm.add-disk", vm.pk, size_gib=2)
    refused = LibvirtFailure(node="fake1", command="volume_delete", text="no", libvirt_code=1)
    fake.node(vm.node_id).fail("volume_delete", refused)
    run_task(registry.get("vm.remove-disk").submit(admin, {"disk": "vdb"}, object_id=vm.pk))
    assert list(vm.disks.values_list("target", "attached")) == [("vda", True), ("vdb", False)]
    made = carry_out(admin, "vm.clone", vm.pk, name="web2", password="another horse").result["vm"]
    assert list(Disk.objects.filter(vm=made).values_list("target", "attached")) == [("vda", True)]
    assert look() == set()
