"""What vmwatch hands over becomes the VMs' status: through the internal API, into a real database."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.core import live
from panel.monitoring import services
from panel.monitoring.models import NodeWatch
from panel.storage.services import ensure_default_pool
from panel.tasks.models import Status, Task
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.vms.services import record_task_reading
from tests.db.conftest import make_node
from vmwatch import config as vmwatch_config
from vmwatch import wire

SECRET = "S3CRET"
EPOCH = 1_790_000_000_000_000_000


def make_vm(node: Node, owner: User, name: str, **fields: Any) -> Vm:
    """A VM that was seen running."""
    cluster = default_cluster()
    given = {"installed": True, "status": VmStatus.RUNNING, "observed_at": timezone.now(), **fields}
    pool = ensure_default_pool(cluster)
    return Vm.objects.create(
        cluster=cluster, node=node, owner=owner, pool=pool, name=name, memory_mib=128, vcpus=1, **given
    )


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM."""
    return make_vm(node, user, "web1")


def told(vm: Vm, state: str, detail: str = "") -> wire.DomainState:
    """A domain in a message."""
    return wire.DomainState(str(vm.uuid), vm.name, state, detail)


def event(vm: Vm, state: str, sequence: int, epoch: int = EPOCH) -> wire.Message:
    """An event of a VM, from its node."""
    return wire.Message(vm.node_id, epoch, sequence, time.time(), wire.EVENT, [told(vm, state)])


def picture(node: Node, domains: list[wire.DomainState], sequence: int, epoch: int = EPOCH) -> wire.Message:
    """A full picture of a node."""
    return wire.Message(node.pk, epoch, sequence, time.time(), wire.PICTURE, domains)


def status_of(vm: Vm) -> str:
    """The VM's status as the database has it."""
    return str(Vm.objects.get(pk=vm.pk).status)


def history(vm: Vm) -> list[tuple[str, str]]:
    """The VM's changes, oldest first, with their causes."""
    return list(StatusChange.objects.filter(vm=vm).order_by("pk").values_list("status", "cause"))


class TestEvents:
    """One message after the other."""

    def test_an_event_becomes_the_status_with_time_place_and_history(self, vm: Vm) -> None:
        before = timezone.now()
        assert services.take_messages([event(vm, wire.SHUT_OFF, 1)]) == 1
        vm.refresh_from_db()
        assert (vm.status, vm.observed_node_id) == (VmStatus.SHUT_OFF, vm.node_id)
        assert (vm.observed_epoch, vm.observed_sequence) == (EPOCH, 1)
        assert vm.observed_at is not None and vm.observed_at >= before
        assert history(vm) == [(wire.SHUT_OFF, Cause.OUTSIDE)]

    def test_the_same_status_again_is_seen_but_is_no_history(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        first = Vm.objects.get(pk=vm.pk).observed_at
        services.take_messages([event(vm, wire.RUNNING, 2)])
        assert history(vm) == []
        assert Vm.objects.get(pk=vm.pk).observed_at > first

    @pytest.mark.parametrize("late", [(EPOCH, 4), (EPOCH, 5), (EPOCH - 1, 900)])
    def test_an_older_message_never_overwrites_a_newer_one(self, vm: Vm, late: tuple[int, int]) -> None:
        services.take_messages([event(vm, wire.PAUSED, 5)])
        assert services.take_messages([event(vm, wire.RUNNING, late[1], late[0])]) == 0
        assert status_of(vm) == VmStatus.PAUSED
        assert history(vm) == [(wire.PAUSED, Cause.OUTSIDE)]

    def test_a_restarted_daemon_is_newer_whatever_its_numbers(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.PAUSED, 500)])
        services.take_messages([event(vm, wire.SHUT_OFF, 1, EPOCH + 1)])
        assert status_of(vm) == VmStatus.SHUT_OFF

    def test_a_batch_is_taken_in_its_order_and_twice_is_once(self, vm: Vm) -> None:
        batch = [event(vm, state, n) for n, state in enumerate((wire.PAUSED, wire.RUNNING, wire.CRASHED), start=1)]
        assert services.take_messages(batch) == 3
        assert services.take_messages(batch) == 0
        assert [status for status, _ in history(vm)] == [wire.PAUSED, wire.RUNNING, wire.CRASHED]

    def test_an_event_from_a_node_that_the_vm_is_not_on_changes_nothing(self, vm: Vm) -> None:
        other = make_node("fake2")
        services.take_messages([dataclasses.replace(event(vm, wire.SHUT_OFF, 1), node_id=other.pk)])
        assert status_of(vm) == VmStatus.RUNNING

    def test_an_unknown_node_and_an_unknown_domain_are_passed_over(self, vm: Vm) -> None:
        stranger = wire.DomainState("6695eb01-f6a4-8304-79aa-97f2502e193f", "not ours", wire.RUNNING)
        nobody = dataclasses.replace(event(vm, wire.SHUT_OFF, 1), node_id=999_999)
        someone = dataclasses.replace(event(vm, wire.SHUT_OFF, 1), domains=[stranger])
        assert services.take_messages([nobody, someone]) == 1
        assert status_of(vm) == VmStatus.RUNNING

    def test_a_change_while_a_task_is_at_work_names_the_task(self, vm: Vm, user: User) -> None:
        task = Task.objects.create(
            operation="vm.stop", title="Stop web1", owner=user, object_type="vm", object_id=vm.pk, status=Status.RUNNING
        )
        services.take_messages([event(vm, wire.SHUT_OFF, 1)])
        change = StatusChange.objects.get(vm=vm)
        assert (change.cause, change.task_id) == (Cause.TASK, task.pk)

    def test_pages_are_told_of_a_change_after_it_is_there(self, vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
        published = []
        monkeypatch.setattr(live, "publish", lambda topic, payload: published.append((topic, payload, status_of(vm))))
        services.take_messages([event(vm, wire.RUNNING, 1), event(vm, wire.SHUT_OFF, 2)])
        [(topic, payload, in_database)] = published
        assert (topic, payload["id"], payload["status"], in_database) == ("vm", vm.pk, wire.SHUT_OFF, wire.SHUT_OFF)


class TestTasksAndEvents:
    """What a task read by itself, against what vmwatch saw meanwhile."""

    def test_a_tasks_late_reading_does_not_overwrite_an_event(self, vm: Vm) -> None:
        sent = timezone.now()
        services.take_messages([event(vm, wire.SHUT_OFF, 1)])
        record_task_reading(vm.pk, wire.RUNNING, sent_at=sent, node=vm.node, task_id=1)
        assert status_of(vm) == VmStatus.SHUT_OFF

    def test_a_tasks_later_reading_is_taken_and_the_next_event_still_is(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.SHUT_OFF, 1)])
        record_task_reading(vm.pk, wire.RUNNING, sent_at=timezone.now(), node=vm.node, task_id=1)
        assert status_of(vm) == VmStatus.RUNNING
        services.take_messages([event(vm, wire.PAUSED, 2)])
        assert status_of(vm) == VmStatus.PAUSED


class TestPictures:
    """All that a node has."""

    def test_a_vm_that_a_picture_lacks_is_missing_and_stays_a_row(self, vm: Vm, user: User) -> None:
        other = make_vm(vm.node, user, "web2")
        services.take_messages([picture(vm.node, [told(other, wire.PAUSED)], 1)])
        assert (status_of(vm), status_of(other)) == (VmStatus.MISSING, VmStatus.PAUSED)
        assert history(vm) == [(wire.MISSING, Cause.OUTSIDE)]
        vm.refresh_from_db()
        assert vm.owner == user

    def test_a_missing_vm_that_is_seen_again_is_what_it_is_seen_to_be(self, vm: Vm) -> None:
        services.take_messages([picture(vm.node, [], 1), picture(vm.node, [told(vm, wire.RUNNING)], 2)])
        assert [status for status, _ in history(vm)] == [wire.MISSING, wire.RUNNING]

    def test_a_picture_of_one_node_says_nothing_of_anothers_vms(self, vm: Vm, user: User) -> None:
        elsewhere = make_vm(make_node("fake2"), user, "web2")
        services.take_messages([picture(vm.node, [told(vm, wire.RUNNING)], 1)])
        assert status_of(elsewhere) == VmStatus.RUNNING

    def test_a_vm_that_is_being_made_is_not_missing_yet(self, node: Node, user: User) -> None:
        young = make_vm(node, user, "young", installed=False, status=VmStatus.UNKNOWN)
        services.take_messages([picture(node, [], 1)])
        assert (status_of(young), history(young)) == (VmStatus.UNKNOWN, [])

    def test_an_event_after_a_picture_in_one_batch_wins(self, vm: Vm) -> None:
        services.take_messages([picture(vm.node, [told(vm, wire.RUNNING)], 1), event(vm, wire.SHUT_OFF, 2)])
        assert status_of(vm) == VmStatus.SHUT_OFF

    def test_an_unchanged_picture_costs_as_many_queries_for_thirty_vms_as_for_three(
        self, node: Node, user: User
    ) -> None:
        counts = []
        vms: list[Vm] = []
        for size, sequence in ((3, 1), (30, 2)):
            vms += [make_vm(node, user, f"vm{size}-{n}") for n in range(size - len(vms))]
            whole = picture(node, [told(vm, wire.RUNNING) for vm in vms], sequence)
            with CaptureQueriesContext(connection) as queries:
                services.take_messages([whole])
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert Vm.objects.filter(observed_sequence=2).count() == 30


class TestSilence:
    """A node of which nobody hears."""

    def silence(self, node: Node, seconds: float) -> None:
        NodeWatch.objects.filter(node=node).update(heard_at=timezone.now() - timedelta(seconds=seconds))

    def test_the_vms_of_a_silent_node_become_unknown_and_keep_when_they_were_seen(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        seen = Vm.objects.get(pk=vm.pk).observed_at
        self.silence(vm.node, services.SILENT_AFTER.total_seconds() + 1)
        assert services.mark_silent_nodes() == 1
        vm.refresh_from_db()
        assert (vm.status, vm.observed_at) == (VmStatus.UNKNOWN, seen)
        assert history(vm) == [(wire.UNKNOWN, Cause.SILENCE)]
        assert services.mark_silent_nodes() == 0

    def test_a_node_that_spoke_within_three_resyncs_is_not_silent(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, services.SILENT_AFTER.total_seconds() - 5)
        assert services.mark_silent_nodes() == 0
        assert status_of(vm) == VmStatus.RUNNING

    def test_the_next_picture_brings_the_status_back_as_seen_not_as_done(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, 3600)
        services.mark_silent_nodes()
        services.take_messages([picture(vm.node, [told(vm, wire.RUNNING)], 2)])
        assert history(vm) == [(wire.UNKNOWN, Cause.SILENCE), (wire.RUNNING, Cause.VMWATCH)]


class TestDoor:
    """POST /internal/vmwatch."""

    @pytest.fixture(autouse=True)
    def secret(self) -> Iterator[None]:
        path = settings.CONFIG.vmwatch_master_conf
        vmwatch_config.write(path, {"disabled": "yes", "secret": SECRET})
        yield
        path.unlink(missing_ok=True)

    def post(self, content: bytes, proof: str | None = None) -> Any:
        signature = wire.sign(content, SECRET) if proof is None else proof
        return Client(enforce_csrf_checks=True).post(
            "/internal/vmwatch", content, "application/json", headers={"X-Vmwatch-Signature": signature}
        )

    def envelope(self, *messages: wire.Message, at: float | None = None) -> bytes:
        content = {"time": time.time() if at is None else at, "messages": [dataclasses.asdict(m) for m in messages]}
        return json.dumps(content).encode()

    def test_a_proven_batch_is_taken(self, vm: Vm) -> None:
        answer = self.post(self.envelope(event(vm, wire.SHUT_OFF, 1)))
        assert (answer.status_code, answer.json()) == (200, {"taken": 1})
        assert status_of(vm) == VmStatus.SHUT_OFF

    @pytest.mark.parametrize("proof", ["", "0" * 64, "ÿ" * 64, "not hex"])
    def test_a_batch_without_proof_is_refused(self, vm: Vm, proof: str) -> None:
        assert self.post(self.envelope(event(vm, wire.SHUT_OFF, 1)), proof).status_code == 403
        assert status_of(vm) == VmStatus.RUNNING

    @pytest.mark.parametrize("off", [-3600, 3600, float("nan")])
    def test_a_batch_of_another_time_is_refused(self, vm: Vm, off: float) -> None:
        assert self.post(self.envelope(event(vm, wire.SHUT_OFF, 1), at=time.time() + off)).status_code == 403

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"time": 1e999}', b'{"time": []}'])
    def test_what_is_no_batch_is_said_to_be_none(self, content: bytes) -> None:
        assert self.post(content).status_code in (400, 403)

    def test_one_message_that_is_none_makes_the_batch_none(self, vm: Vm) -> None:
        content = json.loads(self.envelope(event(vm, wire.SHUT_OFF, 1)))
        content["messages"].append({"version": 1})
        assert self.post(json.dumps(content).encode()).status_code == 400
        assert status_of(vm) == VmStatus.RUNNING

    def test_a_picture_of_a_large_node_passes(self, vm: Vm) -> None:
        many = [
            wire.DomainState(f"00000000-0000-0000-0000-{n:012x}", f"vm-{n:055d}", wire.RUNNING) for n in range(25_000)
        ]
        content = self.envelope(picture(vm.node, [told(vm, wire.PAUSED), *many], 1))
        assert len(content) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        assert self.post(content).status_code == 200
        assert status_of(vm) == VmStatus.PAUSED

    def test_without_a_secret_nobody_passes(self, vm: Vm) -> None:
        settings.CONFIG.vmwatch_master_conf.unlink()
        content = self.envelope(event(vm, wire.SHUT_OFF, 1))
        assert self.post(content, wire.sign(content, "")).status_code == 403

    def test_it_takes_posts_only(self) -> None:
        assert Client().get("/internal/vmwatch").status_code == 405
