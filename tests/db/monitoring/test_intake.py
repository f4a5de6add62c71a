"""What vmwatch hands over becomes the VMs' status: through the internal API, into a real database."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core import live, secretbox
from panel.monitoring import master, services, silence
from panel.monitoring.models import MasterWatch, NodeWatch, WatchKeys
from panel.notices.models import Problem
from panel.tasks.models import Status, Task
from panel.vms import selectors
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.vms.services import record_task_reading
from panel.vms.status import Observation, StatusLog
from tests.db.conftest import make_node
from tests.db.monitoring.messages import EPOCH, event, full_report, history, make_vm, status_of, told
from tests.stack import wait_until
from vmwatch import config, wire

SECRET = "S3CRET"


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM."""
    return make_vm(node, user, "web1")


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

    @pytest.mark.parametrize("late", [(EPOCH, 5), (EPOCH - 1, 900)])
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
            operation="vm.stop",
            title="Stop web1",
            owner=user,
            object_type="vm",
            object_id=vm.pk,
            status=Status.RUNNING,
            request_id="req-of-the-task",
        )
        services.take_messages([event(vm, wire.SHUT_OFF, 1)])
        change = StatusChange.objects.get(vm=vm)
        assert (change.cause, change.task_id, change.request_id) == (Cause.TASK, task.pk, "req-of-the-task")

    def test_pages_are_told_of_a_change_after_it_is_there(self, vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
        published = []
        monkeypatch.setattr(
            live, "publish_many", lambda topic, many: published.extend((topic, each, status_of(vm)) for each in many)
        )
        services.take_messages([event(vm, wire.RUNNING, 1), event(vm, wire.SHUT_OFF, 2)])
        [(topic, payload, in_database)] = published
        assert (topic, payload["id"], payload["status"], in_database) == ("vm", vm.pk, wire.SHUT_OFF, wire.SHUT_OFF)


class TestOurOwnFaults:
    """The panel breaking at a message."""

    def test_a_message_that_breaks_the_panel_is_passed_over_and_the_others_are_taken(
        self, vm: Vm, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = make_vm(vm.node, user, "bad")
        record = StatusLog.record

        def break_at_bad(log: StatusLog, vm: Vm, seen: Observation) -> bool:
            if vm.name == "bad":
                raise RuntimeError("a fault of ours")
            return record(log, vm, seen)

        monkeypatch.setattr(StatusLog, "record", break_at_bad)
        batch = [event(vm, wire.PAUSED, 1), event(bad, wire.PAUSED, 2), event(vm, wire.SHUT_OFF, 3)]
        assert services.take_messages(batch) == 2
        assert history(vm) == [(wire.PAUSED, Cause.OUTSIDE), (wire.SHUT_OFF, Cause.OUTSIDE)]

    def test_a_database_that_fails_takes_nothing_of_the_batch(self, vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_log: StatusLog) -> None:
            raise OperationalError(2006, "Server has gone away")

        with monkeypatch.context() as patch:
            patch.setattr(StatusLog, "write", fail)
            with pytest.raises(OperationalError):
                services.take_messages([event(vm, wire.PAUSED, 1)])
        assert services.take_messages([event(vm, wire.PAUSED, 1)]) == 1


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


class TestFullReports:
    """All that a node has."""

    def test_a_vm_that_a_full_report_lacks_is_missing_and_stays_a_row(self, vm: Vm, user: User) -> None:
        other = make_vm(vm.node, user, "web2")
        services.take_messages([full_report(vm.node, [told(other, wire.PAUSED)], 1)])
        assert (status_of(vm), status_of(other)) == (VmStatus.MISSING, VmStatus.PAUSED)
        assert history(vm) == [(wire.MISSING, Cause.OUTSIDE)]
        vm.refresh_from_db()
        assert vm.owner == user

    def test_a_missing_vm_that_is_seen_again_is_what_it_is_seen_to_be(self, vm: Vm) -> None:
        services.take_messages([full_report(vm.node, [], 1), full_report(vm.node, [told(vm, wire.RUNNING)], 2)])
        assert [status for status, _ in history(vm)] == [wire.MISSING, wire.RUNNING]

    def test_a_full_report_of_one_node_says_nothing_of_anothers_vms(self, vm: Vm, user: User) -> None:
        elsewhere = make_vm(make_node("fake2"), user, "web2")
        services.take_messages([full_report(vm.node, [told(vm, wire.RUNNING)], 1)])
        assert status_of(elsewhere) == VmStatus.RUNNING

    def test_a_vm_that_is_being_made_is_not_missing_yet(self, node: Node, user: User) -> None:
        young = make_vm(node, user, "young", installed=False, status=VmStatus.UNKNOWN)
        services.take_messages([full_report(node, [], 1)])
        assert (status_of(young), history(young)) == (VmStatus.UNKNOWN, [])

    def test_an_event_after_a_full_report_in_one_batch_wins(self, vm: Vm) -> None:
        services.take_messages([full_report(vm.node, [told(vm, wire.RUNNING)], 1), event(vm, wire.SHUT_OFF, 2)])
        assert status_of(vm) == VmStatus.SHUT_OFF

    def test_an_unchanged_full_report_costs_as_many_queries_for_thirty_vms_as_for_three(
        self, node: Node, user: User
    ) -> None:
        counts = []
        vms: list[Vm] = []
        services.take_messages([wire.Message(node.pk, EPOCH, 1, time.time(), wire.ALIVE)])
        for size, sequence in ((3, 2), (30, 3)):
            vms += [make_vm(node, user, f"vm{size}-{n}") for n in range(size - len(vms))]
            whole = full_report(node, [told(vm, wire.RUNNING) for vm in vms], sequence)
            with CaptureQueriesContext(connection) as queries:
                services.take_messages([whole])
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert Vm.objects.filter(observed_sequence=3).count() == 30


class TestWhatComesLate:
    """Lost, doubled and reordered messages: the status is the newest, the history whole."""

    def test_an_event_that_was_overtaken_is_put_where_it_belongs(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.SHUT_OFF, 1), event(vm, wire.PAUSED, 3), event(vm, wire.RUNNING, 2)])
        assert status_of(vm) == VmStatus.PAUSED
        assert [status for status, _ in history(vm)] == [wire.SHUT_OFF, wire.RUNNING, wire.PAUSED]

    def test_a_change_and_its_reversal_that_come_the_wrong_way_round_are_both_history(self, vm: Vm) -> None:
        # When the second came there was nothing to change: only the first makes it a change.
        services.take_messages([event(vm, wire.PAUSED, 1), event(vm, wire.PAUSED, 3), event(vm, wire.RUNNING, 2)])
        assert [status for status, _ in history(vm)] == [wire.PAUSED, wire.RUNNING, wire.PAUSED]

    def test_what_a_full_report_found_is_one_change_with_the_event_that_comes_after_it(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1), full_report(vm.node, [told(vm, wire.SHUT_OFF)], 3)])
        services.take_messages([event(vm, wire.SHUT_OFF, 2)])
        assert [status for status, _ in history(vm)] == [wire.SHUT_OFF]

    def test_a_lost_event_is_told_again_by_the_next_full_report(self, vm: Vm) -> None:
        lost = [
            wire.PastEvent(EPOCH, 2, dataclasses.replace(told(vm, wire.SHUT_OFF, "stopped:destroyed"), age=4.0)),
            wire.PastEvent(EPOCH, 3, dataclasses.replace(told(vm, wire.RUNNING, "started:booted"), age=3.0)),
        ]
        whole = dataclasses.replace(full_report(vm.node, [told(vm, wire.RUNNING)], 4), recent=lost)
        Vm.objects.filter(pk=vm.pk).update(observed_at=timezone.now() - timedelta(hours=1))
        services.take_messages([event(vm, wire.RUNNING, 1)], [60.0])
        for sequence in (4, 5):
            services.take_messages([dataclasses.replace(whole, sequence=sequence)])
        assert [status for status, _ in history(vm)] == [wire.SHUT_OFF, wire.RUNNING]
        newest, older = selectors.history(vm)
        assert newest.at - older.at == timedelta(seconds=1)
        assert (newest.detail, older.detail) == ("started:booted", "stopped:destroyed")

    def test_what_an_earlier_run_of_the_daemon_could_not_say_is_told_by_the_next(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 7)])
        unsaid = [wire.PastEvent(EPOCH, 8, told(vm, wire.PAUSED)), wire.PastEvent(EPOCH, 9, told(vm, wire.RUNNING))]
        whole = dataclasses.replace(full_report(vm.node, [told(vm, wire.RUNNING)], 1, EPOCH + 1), recent=unsaid)
        services.take_messages([whole])
        assert [status for status, _ in history(vm)] == [wire.PAUSED, wire.RUNNING]

    def test_a_message_that_master_held_back_counts_from_when_it_left(self, vm: Vm) -> None:
        before = timezone.now()
        Vm.objects.filter(pk=vm.pk).update(observed_at=before - timedelta(hours=1))
        services.take_messages([event(vm, wire.SHUT_OFF, 1)], [600.0])
        [change] = selectors.history(vm)
        assert abs((before - change.at).total_seconds() - 600) < 5

    def test_an_event_from_before_a_tasks_reading_is_history_and_not_the_status(self, vm: Vm) -> None:
        Vm.objects.filter(pk=vm.pk).update(observed_at=timezone.now() - timedelta(hours=1))
        sent = timezone.now() - timedelta(seconds=5)
        record_task_reading(vm.pk, wire.RUNNING, sent_at=sent, node=vm.node, task_id=1)
        services.take_messages([event(vm, wire.SHUT_OFF, 1)], [60.0])
        assert status_of(vm) == VmStatus.RUNNING
        assert history(vm)[0] == (wire.SHUT_OFF, Cause.OUTSIDE)

    def test_a_full_report_from_before_a_tasks_reading_does_not_overwrite_it(self, vm: Vm) -> None:
        Vm.objects.filter(pk=vm.pk).update(observed_at=timezone.now() - timedelta(hours=1), status=VmStatus.SHUT_OFF)
        record_task_reading(vm.pk, wire.RUNNING, sent_at=timezone.now(), node=vm.node, task_id=1)
        services.take_messages([full_report(vm.node, [told(vm, wire.SHUT_OFF)], 1)], [30.0])
        assert status_of(vm) == VmStatus.RUNNING

    @pytest.mark.parametrize("seed", range(20))
    def test_any_order_and_any_doubling_ends_in_the_same_history(self, vm: Vm, seed: int) -> None:
        chance = random.Random(seed)
        states = [chance.choice((wire.RUNNING, wire.PAUSED, wire.SHUT_OFF)) for _ in range(12)]
        start = time.monotonic()
        Vm.objects.filter(pk=vm.pk).update(observed_at=timezone.now() - timedelta(hours=1))
        services.take_messages([event(vm, wire.RUNNING, 1)], [600.0])
        messages = [event(vm, state, n) for n, state in enumerate(states, start=2)]
        truth = [state for before, state in zip([wire.RUNNING, *states], states, strict=False) if before != state]
        sent = messages + chance.sample(messages, 4)
        chance.shuffle(sent)
        for message in sent:
            # The older one left earlier.
            age = time.monotonic() - start + 12 - message.sequence
            aged = dataclasses.replace(message, domains=[dataclasses.replace(message.domains[0], age=age)])
            services.take_messages([aged])
        assert status_of(vm) == states[-1]
        assert [status for status, _ in history(vm)] == truth


class TestSilence:
    """A node of which nobody hears."""

    def silence(self, node: Node, seconds: float) -> None:
        NodeWatch.objects.filter(node=node).update(heard_at=timezone.now() - timedelta(seconds=seconds))

    def test_the_vms_of_a_silent_node_become_unknown_and_keep_when_they_were_seen(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        seen = Vm.objects.get(pk=vm.pk).observed_at
        self.silence(vm.node, silence.silent_after().total_seconds() + 1)
        assert silence.mark_silent() == 1
        vm.refresh_from_db()
        assert vm.status == VmStatus.UNKNOWN
        assert vm.observed_at is not None and vm.observed_at - seen < timedelta(milliseconds=1)
        assert history(vm) == [(wire.UNKNOWN, Cause.SILENCE)]
        assert silence.mark_silent() == 0

    def test_a_node_that_spoke_within_one_resync_is_not_silent(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, silence.silent_after().total_seconds() - 5)
        assert silence.mark_silent() == 0
        assert status_of(vm) == VmStatus.RUNNING

    def test_a_word_that_it_is_alive_is_enough(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, 3600)
        services.take_messages([wire.Message(vm.node_id, EPOCH, 2, time.time(), wire.ALIVE)])
        assert silence.mark_silent() == 0

    def test_the_next_full_report_brings_the_status_back_as_seen_not_as_done(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, 3600)
        silence.mark_silent()
        services.take_messages([full_report(vm.node, [told(vm, wire.RUNNING)], 2)])
        assert history(vm) == [(wire.UNKNOWN, Cause.SILENCE), (wire.RUNNING, Cause.VMWATCH)]

    def test_a_silent_node_is_one_problem_that_closes_when_it_speaks(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, 3600)
        for _ in range(2):
            silence.mark_silent()
        assert Problem.objects.get(open_key=f"node:{vm.node_id}:silent").object_id == vm.node_id
        services.take_messages([full_report(vm.node, [told(vm, wire.RUNNING)], 2)])
        silence.mark_silent()
        assert not Problem.objects.filter(open_key__isnull=False).exists()

    def test_a_silent_master_is_one_problem_not_one_for_each_node(self, vm: Vm) -> None:
        services.take_messages([event(vm, wire.RUNNING, 1)])
        self.silence(vm.node, 3600)
        MasterWatch.objects.update(heard_at=timezone.now() - timedelta(seconds=3600))
        silence.mark_silent()
        assert list(Problem.objects.values_list("open_key", flat=True)) == [silence.MASTER_KEY]
        services.take_messages([])
        NodeWatch.objects.update(heard_at=timezone.now())
        silence.mark_silent()
        assert not Problem.objects.filter(open_key__isnull=False).exists()

    def test_a_master_that_was_stopped_is_ended_to_be_started_again_and_the_silence_is_said_to_be_its(
        self, vm: Vm, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(master, "pid_file", lambda: tmp_path / "vmwatch-master.pid")
        monkeypatch.setattr(master, "STILL_SECONDS", 2.0)
        argv = [sys.executable, "-m", "vmwatch.master", "--wait", "--config", str(tmp_path / "none")]
        argv += ["--log", str(tmp_path / "log"), "--pid-file", str(master.pid_file())]
        with subprocess.Popen(argv) as process:
            try:
                wait_until(config.beat_of(master.pid_file()).exists, "its loop goes round", 30)
                assert not master.stands_still() and not master.end_standing_still()
                process.send_signal(signal.SIGSTOP)
                wait_until(master.stands_still, "it stands still", 30)
                services.take_messages([event(vm, wire.RUNNING, 1)])
                self.silence(vm.node, 3600)
                MasterWatch.objects.update(heard_at=timezone.now() - timedelta(seconds=3600))
                silence.mark_silent()
                assert process.wait(20) == -signal.SIGKILL
            finally:
                process.kill()
        (problem,) = Problem.objects.filter(open_key__isnull=False)
        assert problem.open_key == silence.MASTER_KEY and "stood still" in problem.text
        assert StatusChange.objects.filter(vm=vm).latest("id").detail == "vmwatch-master is silent"
        MasterWatch.objects.update(heard_at=timezone.now())
        services.take_messages([full_report(node, [told(vm, wire.RUNNING)], 2)])
        self.silence(vm.node, 3600)
        silence.mark_silent()
        assert StatusChange.objects.filter(vm=vm).latest("id").detail == "its node is silent"


class TestDoor:
    """POST /internal/vmwatch."""

    @pytest.fixture(autouse=True)
    def secret(self) -> Iterator[None]:
        sealed = secretbox.seal({"secret": SECRET, "previous": "PR3VIOUS"})
        WatchKeys.objects.create(id=1, sealed=sealed)
        yield

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

    def test_while_the_secret_changes_the_previous_one_is_a_proof_too(self, vm: Vm) -> None:
        content = self.envelope(event(vm, wire.SHUT_OFF, 1))
        assert self.post(content, wire.sign(content, "PR3VIOUS")).status_code == 200

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

    def test_a_full_report_of_a_large_node_passes(self, vm: Vm) -> None:
        many = [
            wire.DomainState(f"00000000-0000-0000-0000-{n:012x}", f"vm-{n:055d}", wire.RUNNING) for n in range(25_000)
        ]
        content = self.envelope(full_report(vm.node, [told(vm, wire.PAUSED), *many], 1))
        assert len(content) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        assert self.post(content).status_code == 200
        assert status_of(vm) == VmStatus.PAUSED

    def test_without_a_secret_nobody_passes(self, vm: Vm) -> None:
        WatchKeys.objects.all().delete()
        content = self.envelope(event(vm, wire.SHUT_OFF, 1))
        assert self.post(content, wire.sign(content, "")).status_code == 403

    def test_it_takes_posts_only(self) -> None:
        assert Client().get("/internal/vmwatch").status_code == 405
