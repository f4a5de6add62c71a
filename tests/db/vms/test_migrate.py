"""What a move is refused for, what it promises meanwhile, and that its two domains are no duplicates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol import migration as protocol
from nodeagent.storage import place
from panel.accounts.models import User
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, LibvirtFailure, NodeUnreachable, WrongState
from panel.doctor import services as doctor
from panel.images.models import Customization, Image
from panel.monitoring import services
from panel.notices.models import Problem, Severity
from panel.notices.services import open_problem
from panel.storage.models import NodePool, Pool, Volume
from panel.storage.selectors import volumes_at
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task
from panel.tasks.services import cancel
from panel.vms.models import Migration, Sighting, Vm, VmStatus
from tests.db.conftest import GIB, make_node, run_task
from tests.db.monitoring.messages import event, full_report, told
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


def test_its_ports_are_filtered_before_it_runs_there(
    api: APIClient, vm: Vm, other: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, filtered = fake.FakeNode._migration_run, []

    def run(source: fake.FakeNode, *asked: Any) -> protocol.Moved:
        filtered.append([each.vm for each in fake.node(other.pk).rules.values()])
        return ran(source, *asked)

    monkeypatch.setattr(fake.FakeNode, "_migration_run", run)
    assert run_task(task_of(ask(api, vm))).status == Status.DONE
    assert filtered == [[str(vm.uuid)]]


def test_a_move_that_is_refused_by_the_guest_s_libvirt_leaves_no_filter(
    api: APIClient, vm: Vm, node: Node, other: Node
) -> None:
    before = fake.node(other.pk).rules
    error = LibvirtFailure(node=node.name, command="migration_run", text="no", libvirt_code=1)
    fake.node(node.pk).fail("migration_run", error)
    assert run_task(task_of(ask(api, vm))).status == Status.FAILED
    assert fake.node(other.pk).rules == before == {}


@pytest.mark.parametrize("on", [True, False])
def test_what_was_not_sent_whole_is_not_left_behind(api: APIClient, vm: Vm, node: Node, other: Node, on: bool) -> None:
    if not on:
        run_task(task_of(dict(api.post(f"/api/v1/vms/{vm.pk}/force-off", {}, format="json").json())))
    before = dict(fake.node(other.pk).files)
    error = CommandFailed(node=node.name, command="volume_send", agent_code="command_failed", text="no way there")
    fake.node(node.pk).fail("volume_send", error)
    assert run_task(task_of(ask(api, vm))).status == Status.FAILED
    assert fake.node(other.pk).files == before


def test_a_plan_names_both_nodes(api: APIClient, vm: Vm, node: Node, other: Node) -> None:
    plan = api.post(f"/api/v1/vms/{vm.pk}/migrate?plan=1", {}, format="json").json()
    assert other.name in plan["steps"][0]["changes"]
    assert [lock["id"] for lock in plan["locks"] if lock["kind"] == "node"] == [node.pk, other.pk]


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
    services.take_messages([full_report(other, [told(vm, wire.RUNNING)], 2)])
    assert not Problem.objects.filter(object_type="vm").exists()
    assert run_task(task).status == Status.DONE
    # A message that left the source before the move's end is no news; a later one is.
    Migration.objects.update(ended_at=timezone.now() + timedelta(seconds=5))
    services.take_messages([event(vm, wire.RUNNING, 1, node=node)])
    assert not Sighting.objects.exists()
    Migration.objects.update(ended_at=timezone.now() - timedelta(seconds=5))
    services.take_messages([full_report(node, [told(vm, wire.RUNNING)], 2)])
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


def test_a_move_that_has_come_too_far_is_not_cancelled_and_no_page_offers_it(
    api: APIClient, vm: Vm, node: Node, other: Node, admin: User
) -> None:
    task, client = task_of(ask(api, vm)), Client()
    client.force_login(admin)
    button = f'hx-get="/tasks/{task.pk}/cancel"'
    assert button in client.get(f"/tasks/{task.pk}", secure=True).content.decode()
    # The VM is on the target, and what the source still has cannot be removed for the moment.
    fake.node(node.pk).fail("host_delete", NodeUnreachable(node="fake1", reason="gone"))
    engine.run(task.pk, "test")
    assert button not in client.get(f"/tasks/{task.pk}", secure=True).content.decode()
    answer = api.post(f"/api/v1/tasks/{task.pk}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "gone too far" in answer.json()["detail"]
    assert run_task(task).status == Status.DONE


def test_a_disk_that_waits_to_be_made_is_made_where_the_vm_has_gone(
    api: APIClient, vm: Vm, node: Node, other: Node, admin: User
) -> None:
    move = task_of(ask(api, vm))
    disk = registry.get("vm.add-disk").submit(admin, {"size_gib": 2}, object_id=vm.pk, queue=True)
    for task in (move, disk):
        assert run_task(task).status == Status.DONE, task.error
    assert [volume.node for volume in Volume.objects.filter(disk__vm=vm)] == [other, other]
    domain = fake.node(other.pk).domains[str(vm.uuid)]
    assert len(domain.spec.disks) == 2 and all(
        place(each.volume) in fake.node(other.pk).files for each in domain.spec.disks
    )
    assert not doctor.look()


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


def test_an_evacuation_does_not_wait_for_a_move_that_a_person_must_look_at(api: APIClient, vm: Vm, node: Node) -> None:
    move = task_of(ask(api, vm))
    Task.objects.filter(pk=move.pk).update(status=Status.STUCK)
    Migration.objects.update(task_id=move.pk)
    asked = api.post(f"/api/v1/nodes/{node.pk}/evacuate", {}, format="json").json()
    ended = run_task(task_of(asked))
    assert (ended.status, list((ended.error or {})["stay"])) == (Status.FAILED, ["web1"])
    assert ended.error["stay"]["web1"] == f"Its move is stuck: see task {move.pk}."  # type: ignore[index]


@pytest.mark.parametrize(("percent", "status"), [(49, 400), (50, 200), (500, 200), (501, 400)])
def test_overselling_is_a_policy_from_50_to_500(api: APIClient, node: Node, percent: int, status: int) -> None:
    for name in ("memory_overselling_percent", "cpu_overselling_percent"):
        assert api.patch("/api/v1/cluster", {name: percent}, format="json").status_code == status
    assert api.patch(f"/api/v1/nodes/{node.pk}", {"max_vms": 3}, format="json").json()["max_vms"] == 3
    assert api.patch(f"/api/v1/nodes/{node.pk}", {"state": "ready"}, format="json").status_code == 400


class TestSharedStorage:
    """What both nodes see is not copied, and never deleted on one of them."""

    @pytest.fixture
    def shared(self, api: APIClient, vm: Vm, node: Node, other: Node) -> Vm:
        """The VM on a storage that both nodes share."""
        one, two = fake.node(node.pk), fake.node(other.pk)
        two.files, two.marks, two.signs = one.files, one.marks, one.signs
        declare(api, vm, shared=True)
        return vm

    @pytest.mark.parametrize("verb", [None, "force-off", "pause"])
    def test_nothing_is_copied_and_nothing_deleted(
        self, api: APIClient, shared: Vm, node: Node, other: Node, verb: str | None
    ) -> None:
        if verb:
            asked = api.post(f"/api/v1/vms/{shared.pk}/{verb}", {}, format="json").json()
            assert run_task(task_of(asked)).status == Status.DONE
        files = dict(fake.node(node.pk).files)
        assert any("/volumes/" in path for path in files)
        fake.node(other.pk).calls.clear()
        task = run_task(task_of(ask(api, shared)))
        assert task.status == Status.DONE, task.error
        before, shared = shared, Vm.objects.get(pk=shared.pk)
        assert shared.node == other
        assert fake.node(other.pk).files == files
        assert not fake.node(node.pk).domains and str(shared.uuid) in fake.node(other.pk).domains
        assert shared.disks.get().volume.place == before.disks.get().volume.place
        for each in (node, other):
            asked_of = {request.COMMAND for request in fake.node(each.pk).calls}
            assert not asked_of & {"volume_send", "volume_open", "volume_delete", "seed_delete"}
        moved = [each for each in fake.node(node.pk).calls if isinstance(each, protocol.MigrationRun)]
        assert [each.disks for each in moved] == ([] if verb == "force-off" else [[]])
        assert not fake.node(node.pk).signs

    def test_a_volume_of_it_has_no_node(self, api: APIClient, shared: Vm, node: Node, other: Node) -> None:
        assert not doctor.look()
        do(api, f"/api/v1/vms/{shared.pk}/add-disk", size_gib=1)
        assert run_task(task_of(ask(api, shared))).status == Status.DONE
        volumes = Volume.objects.filter(disk__vm=shared)
        assert {volume.node for volume in volumes} == {None}
        assert {each.pk for each in volumes_at(other)} == {each.pk for each in volumes} and not volumes_at(node)
        assert not doctor.look()
        declare(api, shared, shared=False)
        assert {volume.node for volume in volumes.all()} == {other}
        declare(api, shared, shared=True)
        assert {volume.node for volume in volumes.all()} == {None}

    def test_a_vm_that_has_moved_is_not_cloned_where_it_was(self, api: APIClient, shared: Vm, admin: User) -> None:
        """Its disks would be there still, with a guest on the other node writing to them."""
        move = task_of(ask(api, shared))
        raw = {"name": "copy", "password": "another horse"}
        clone = registry.get("vm.clone").submit(admin, raw, object_id=shared.pk, queue=True)
        assert run_task(move).status == Status.DONE
        ended = run_task(clone)
        assert (ended.status, (ended.error or {}).get("code")) == (Status.FAILED, "wrong_state")
        assert not Vm.objects.filter(name="copy").exists()

    def test_of_two_disks_the_local_one_is_copied(self, api: APIClient, shared: Vm, node: Node, other: Node) -> None:
        local = Pool.objects.create(cluster=shared.cluster, name="fast", options={"path": "/srv/fast/pool"})
        path = "/srv/fast/pool/volumes/"
        for each in (node, other):
            NodePool.objects.create(node=each, pool=local, capacity_bytes=500 * GIB, free_bytes=400 * GIB)
            fake.node(each.pk).pools.add(local.name)
        asked = api.post(f"/api/v1/vms/{shared.pk}/add-disk", {"size_gib": 1, "pool": "fast"}, format="json").json()
        assert run_task(task_of(asked)).status == Status.DONE
        # They share the other one alone.
        one, two = fake.node(node.pk), fake.node(other.pk)
        two.files = {name: file for name, file in one.files.items() if not name.startswith(path)}
        before = set(two.files)
        two.signs = one.signs
        declare(api, shared, shared=True)
        one.signs, two.signs = OneOf(shared.pool.name), OneOf(shared.pool.name)
        two.signs.same = one.signs.same
        task = run_task(task_of(ask(api, shared)))
        assert task.status == Status.DONE, task.error
        [moved] = [each for each in one.calls if isinstance(each, protocol.MigrationRun)]
        assert moved.disks == [shared.disks.get(volume__pool=local).target]
        assert set(one.files) == before
        assert [name for name in two.files if name.startswith(path)]

    def test_a_storage_that_is_declared_shared_and_is_not_is_refused(
        self, api: APIClient, vm: Vm, node: Node, other: Node
    ) -> None:
        declare(api, vm, shared=True)
        task = run_task(task_of(ask(api, vm)))
        assert task.status == Status.FAILED and task.error is not None
        reason = task.error["candidates"][other.name]
        assert reason.startswith("the storage “local” is declared shared, but “fake2” does not see there what “fake1”")
        assert not fake.node(other.pk).files and not fake.node(node.pk).signs
        assert files_of(vm)
        # Once the nodes were checked it is known before anybody is asked, and the node says so.
        for each in (node, other):
            checked = run_task(registry.get("node.check").submit(system_user(), {}, object_id=each.pk))
        assert "declared shared" in str(checked.result["complaints"])
        assert "declared shared" in str(ask(api, vm)["candidates"])

    def test_a_storage_that_is_declared_local_and_is_not_is_refused(
        self, api: APIClient, shared: Vm, other: Node
    ) -> None:
        # Moved as a local one, it would be deleted.
        declare(api, shared, shared=False)
        task = run_task(task_of(ask(api, shared)))
        assert task.status == Status.FAILED and task.error is not None
        assert "is declared local, but “fake2” sees there" in task.error["candidates"][other.name]
        assert files_of(shared)

    @pytest.mark.parametrize("command", ["migration_run", "host_create", "migration_stop", "host_delete"])
    def test_what_is_declared_otherwise_meanwhile_deletes_nothing(
        self, api: APIClient, shared: Vm, node: Node, other: Node, command: str
    ) -> None:
        task = task_of(ask(api, shared))
        for each in (node, other):
            fake.node(each.pk).lose_answer(command)
        engine.run(task.pk, "test")
        declare(api, shared, shared=False)
        with suppress(WrongState):
            # Refused once the VM is the target's: then there is no way back that could delete anything.
            cancel(task, User.objects.get(name="admin"))
        run_task(task)
        assert files_of(shared)

    def test_a_disk_that_its_node_caches_is_refused_while_it_runs(self, api: APIClient, shared: Vm, node: Node) -> None:
        shared.disks.update(cache="writeback")
        refused = ask(api, shared)
        assert refused["code"] == "wrong_state" and "cache mode" in str(refused["detail"])
        # Its row may say what is true at the next start only.
        shared.disks.update(cache="none")
        domain = fake.node(node.pk).domains[str(shared.uuid)]
        domain.running = replace(domain.spec, disks=[replace(domain.spec.disks[0], cache="writeback")])
        task = run_task(task_of(ask(api, shared)))
        assert (task.status, task.error and task.error["code"]) == (Status.FAILED, "wrong_state")
        asked = api.post(f"/api/v1/vms/{shared.pk}/force-off", {}, format="json").json()
        assert run_task(task_of(asked)).status == Status.DONE
        shared.disks.update(cache="writeback")
        domain.spec = replace(domain.spec, disks=[replace(domain.spec.disks[0], cache="writeback")])
        assert run_task(task_of(ask(api, shared))).status == Status.DONE

    def test_the_doctor_finds_nothing_on_either_node(
        self, api: APIClient, shared: Vm, node: Node, other: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "SECOND_LOOK_SECONDS", 0.0)
        for each in (node, other):
            assert run_task(registry.get("node.check").submit(system_user(), {}, object_id=each.pk)).status == "done"
        assert doctor.examine() == []
        fake.node(node.pk).files[f"{shared.pool.where}/volumes/old.qcow2"] = fake.FakeVolume("qcow2", 1)
        assert {finding.code for finding in doctor.examine()} == {"file_foreign"}

    def test_a_node_goes_without_the_files_of_the_others(self, shared: Vm, node: Node, other: Node) -> None:
        for each in (node, other):
            run_task(registry.get("node.check").submit(system_user(), {}, object_id=each.pk))
        task = run_task(registry.get("node.remove").submit(system_user(), {}, object_id=other.pk))
        assert task.status == Status.DONE, task.error
        assert files_of(shared) and any("/images/" in path for path in fake.node(node.pk).files)


class OneOf(set[tuple[str, str]]):
    """Signs that another node sees in one pool alone."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.same: set[tuple[str, str]] = set()

    def add(self, sign: tuple[str, str]) -> None:
        """Both see it there."""
        super().add(sign)
        if sign[0] == self.path:
            self.same.add(sign)

    def __contains__(self, sign: object) -> bool:
        return sign in self.same


def declare(api: APIClient, vm: Vm, *, shared: bool) -> None:
    """The administrator says whether the VM's storage is shared."""
    answer = api.patch(f"/api/v1/pools/{vm.pool_id}", {"shared": shared}, format="json")
    assert (answer.status_code, answer.json()["shared"]) == (200, shared)


def files_of(vm: Vm) -> bool:
    """Whether the VM's disks and its seed are there."""
    vm = Vm.objects.get(pk=vm.pk)
    there = fake.node(vm.node_id).files
    return all(path in there for path in [place(vm.seed_ref), *(disk.volume.place for disk in vm.disks.all())])


def test_what_its_uefi_remembers_goes_with_a_vm_that_is_off(api: APIClient, vm: Vm, node: Node, other: Node) -> None:
    asked = api.post(f"/api/v1/vms/{vm.pk}/force-off", {}, format="json").json()
    assert run_task(task_of(asked)).status == Status.DONE
    fake.node(node.pk).nvram[str(vm.uuid)] = 540_672
    assert run_task(task_of(ask(api, vm))).status == Status.DONE
    assert fake.node(other.pk).nvram == {str(vm.uuid): 540_672}
    assert not fake.node(node.pk).nvram


def test_what_its_seed_says_goes_along_and_is_changed_there(api: APIClient, vm: Vm, other: Node) -> None:
    assert run_task(task_of(ask(api, vm))).status == Status.DONE
    for verb, raw in (("force-off", {}), ("rename", {"name": "web2"})):
        asked = api.post(f"/api/v1/vms/{vm.pk}/{verb}", raw, format="json").json()
        assert run_task(task_of(asked)).status == Status.DONE, verb
    assert fake.node(other.pk).seeds[place(vm.seed_ref)][1].hostname == "web2"


class TestPools:
    """Storages that the administrator adds."""

    def test_a_new_one_is_on_each_node_after_its_check(self, api: APIClient, node: Node) -> None:
        raw = {"name": "nfs", "path": "/srv/nfs/pool/", "shared": True}
        made = api.post("/api/v1/pools", raw, format="json")
        assert (made.status_code, made.json()["path"], made.json()["on_nodes"]) == (201, "/srv/nfs/pool", [])
        run_task(registry.get("node.check").submit(system_user(), {}, object_id=node.pk))
        shown = api.get(f"/api/v1/pools/{made.json()['id']}").json()
        assert [each["node"] for each in shown["on_nodes"]] == [node.name]

    @pytest.mark.parametrize("path", ["pool", "/pool", "/srv/../pool", "/srv/po ol", "/srv/po\nol", "", "/srv//pool"])
    def test_a_path_that_cannot_be_a_storage_is_refused(self, api: APIClient, node: Node, path: str) -> None:
        refused = api.post("/api/v1/pools", {"name": "x", "path": path}, format="json")
        assert (refused.status_code, refused.json()["field"]) == (400, "path")

    @pytest.mark.parametrize(
        ("name", "path", "field"),
        [
            ("local", "/srv/pool", "name"),
            ("x", "/var/lib/vmpanel/pool", "path"),
            ("x", "/var/lib/vmpanel", "path"),
            ("x", "/var/lib/vmpanel/pool/volumes", "path"),
        ],
    )
    def test_what_another_storage_has_is_refused(
        self, api: APIClient, node: Node, name: str, path: str, field: str
    ) -> None:
        refused = api.post("/api/v1/pools", {"name": name, "path": path}, format="json")
        assert (refused.status_code, refused.json()["field"]) == (409, field)


def test_a_node_is_told_the_format_of_every_volume(api: APIClient, node: Node, other: Node, image: Image) -> None:
    """It must not find it out itself: what stands in a raw one is its guest's."""
    Pool.objects.update(volume_format="raw")
    asked = {"name": "web1", "image": "small", "flavor": "small", "node": node.name}
    vm = Vm.objects.get(pk=do(api, "/api/v1/vms", **asked).object_id)
    of_vm = f"/api/v1/vms/{vm.pk}"
    do(api, f"{of_vm}/clone", name="web2")
    do(api, f"{of_vm}/force-off")
    do(api, f"{of_vm}/clone", name="web3")
    do(api, f"{of_vm}/grow-disk", disk="vda", size_gib=60)
    do(api, f"{of_vm}/migrate")
    Image.objects.update(customization=Customization.VIRT_CUSTOMIZE)
    do(api, f"{of_vm}/configure-guest", password="another horse")
    do(api, f"{of_vm}/reinstall", image="small", password="correct horse")
    calls = [*fake.node(node.pk).calls, *fake.node(other.pk).calls]
    told = [each for call in calls for each in (call, *getattr(call, "copies", ())) if hasattr(each, "format")]
    assert {type(each).__name__: each.format for each in told if each.format != "raw"} == {}
    assert {type(each).__name__ for each in told} == {
        *("DiskCopy", "DiskGrow", "VolumeClone", "VolumeClose", "VolumeCopy", "VolumeCreate", "VolumeCustomize"),
        *("VolumeGrow", "VolumeInfo", "VolumeOpen", "VolumeReconfigure", "VolumeSend"),
    }


def do(api: APIClient, where: str, **raw: object) -> Task:
    """An operation's task, which is done."""
    answer = api.post(where, raw, format="json").json()
    task = run_task(Task.objects.get(pk=answer["task"]["id"]))
    assert task.status == Status.DONE, task.error
    return task
