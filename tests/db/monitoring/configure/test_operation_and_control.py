"""vmwatch.configure as an operation, and the command that controls it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, NodeUnreachable
from panel.monitoring import configure, keys, silence
from panel.monitoring.models import MasterWatch, NodeWatch, WatchKeys
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task, TaskLog
from tests.db.monitoring.configure.conftest import add, told
from vmwatch import config as vmwatch_config
from vmwatch import wire


class TestOperation:
    """vmwatch.configure."""

    def ask(self, api: APIClient, **fields: object) -> None:
        answer = api.post("/api/v1/vmwatch/configure", fields, format="json")
        assert answer.status_code == 202, answer.json()

    def test_both_ends_are_configured_and_the_node_is_told_the_interval(
        self, api: APIClient, machine: Path, run_tasks: Callable[[], None]
    ) -> None:
        node = add("far", "203.0.113.5")
        self.ask(api)
        run_tasks()
        read = vmwatch_config.read_master(machine)
        assert (told(node).connect, told(node).secret) == (read.listen, wire.own_secret(read.secret, node.pk))
        assert (told(node).node_id, told(node).resync) == (node.pk, 15.0)

    def test_a_new_secret_is_believed_beside_the_previous_one_until_all_have_it(
        self, api: APIClient, machine: Path, run_tasks: Callable[[], None]
    ) -> None:
        near, far = add("near", "192.0.2.8"), add("far", "203.0.113.5")
        self.ask(api)
        run_tasks()
        before = vmwatch_config.read_master(machine).secret
        fake.node(far.pk).fail("vmwatch_configure", NodeUnreachable(node="far", reason="cut off"), times=1)
        self.ask(api, rotate=True)
        run_tasks()
        read = vmwatch_config.read_master(machine)
        assert (read.previous_secret, told(far).secret) == (before, wire.own_secret(before, far.pk))
        assert told(near).secret == wire.own_secret(read.secret, near.pk) and read.secret != before
        # Asked again meanwhile: the change that is under way goes on.
        assert keys.rotate().secret == read.secret
        registry.get("node.check").submit(system_user(), {}, object_id=far.pk)
        run_tasks()
        assert told(far).secret == wire.own_secret(read.secret, far.pk)
        assert vmwatch_config.read_master(machine).previous_secret == ""

    def test_curve_keys_come_and_go_with_the_option(
        self, api: APIClient, machine: Path, run_tasks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = add("far", "203.0.113.5")
        monkeypatch.setattr(settings.CONFIG, "vmwatch_curve", True)
        self.ask(api)
        run_tasks()
        read = vmwatch_config.read_master(machine)
        assert len(read.curve_secret_key) == 40 and told(node).server_key == read.curve_public_key
        monkeypatch.setattr(settings.CONFIG, "vmwatch_curve", False)
        self.ask(api)
        run_tasks()
        assert (vmwatch_config.read_master(machine).curve_secret_key, told(node).server_key) == ("", "")

    def test_curve_keys_are_renewed_when_asked_for_and_every_node_is_told(
        self, api: APIClient, machine: Path, run_tasks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = add("far", "203.0.113.5")
        monkeypatch.setattr(settings.CONFIG, "vmwatch_curve", True)
        self.ask(api)
        run_tasks()
        before = vmwatch_config.read_master(machine)
        self.ask(api, rotate=True)
        run_tasks()
        assert vmwatch_config.read_master(machine).curve_secret_key == before.curve_secret_key
        self.ask(api, renew_curve=True)
        run_tasks()
        read = vmwatch_config.read_master(machine)
        assert read.curve_secret_key != before.curve_secret_key
        assert told(node).server_key == read.curve_public_key != before.curve_public_key
        assert before.curve_secret_key not in str(list(TaskLog.objects.values_list("text", flat=True)))

    def test_keys_that_are_not_used_are_not_renewed(self, api: APIClient, run_tasks: Callable[[], None]) -> None:
        add("far", "203.0.113.5")
        self.ask(api, renew_curve=True)
        run_tasks()
        assert Task.objects.get().status == Status.FAILED
        assert keys.ensure().curve_secret == ""

    def test_it_is_the_administrators(self, api_as_user: APIClient) -> None:
        assert api_as_user.post("/api/v1/vmwatch/configure").status_code == 403

    def test_the_command_does_the_same(self, run_tasks: Callable[[], None]) -> None:
        node = add("far", "203.0.113.5")
        call_command("vmwatch_configure", "--rotate")
        run_tasks()
        held = keys.current()
        assert held is not None
        own = wire.own_secret(held.secret, node.pk)
        assert (told(node).connect, told(node).secret, held.previous) == ("tcp://192.0.2.7:1515", own, "")


class TestControl:
    """What is looked after, and configured again when it is solved."""

    def problems(self) -> list[str]:
        return list(Problem.objects.filter(open_key__isnull=False).values_list("open_key", flat=True))

    def test_a_panel_without_nodes_has_no_master_and_no_problem(self) -> None:
        silence.check_master()
        assert self.problems() == []

    def test_a_silent_master_is_one_problem_and_its_return_configures_everything_again(self) -> None:
        add("far", "203.0.113.5")
        for _ in range(2):
            silence.check_master()
        assert self.problems() == [silence.MASTER_KEY]
        MasterWatch.objects.create(id=1, heard_at=timezone.now())
        silence.check_master()
        assert self.problems() == []
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1
        silence.check_master()
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1

    def test_the_problem_of_a_master_that_never_spoke_stays_until_it_does(self) -> None:
        add("far", "203.0.113.5")
        silence.check_master()
        silence.mark_silent()
        assert self.problems() == [silence.MASTER_KEY]
        MasterWatch.objects.create(id=1, heard_at=timezone.now() - silence.MASTER_SILENT)
        silence.mark_silent()
        assert self.problems() == [silence.MASTER_KEY]
        MasterWatch.objects.update(heard_at=timezone.now())
        silence.mark_silent()
        assert self.problems() == []
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1

    def test_a_master_that_was_just_enabled_has_the_time_to_speak(self) -> None:
        add("far", "203.0.113.5")
        configure.configure_master()
        silence.check_master()
        assert self.problems() == []
        WatchKeys.objects.update(enabled_at=timezone.now() - silence.MASTER_SILENT)
        configure.configure_master()
        silence.check_master()
        assert self.problems() == [silence.MASTER_KEY]

    def test_one_that_was_blocked_since_it_last_spoke_has_it_too(self) -> None:
        MasterWatch.objects.create(id=1, heard_at=timezone.now() - timedelta(days=1))
        configure.configure_master()
        assert WatchKeys.objects.get().enabled_at is None
        add("far", "203.0.113.5")
        configure.configure_master()
        silence.check_master()
        assert self.problems() == []

    def test_a_service_that_was_found_stopped_is_a_problem_that_closes_itself(
        self, run_tasks: Callable[[], None]
    ) -> None:
        node = add("far", "203.0.113.5")

        def check() -> list[str]:
            registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
            run_tasks()
            return list(Problem.objects.filter(key=f"node:{node.pk}:vmwatch").values_list("text", flat=True))

        # The first time it is configured, not mended.
        assert check() == [] and check() == []
        fake.node(node.pk).vmwatch = None
        assert check() == ["Node “far”: vmwatch-node did not run."]
        assert self.problems() == [] and told(node)
        assert "did not run" in TaskLog.objects.get(level="warning").text

    def test_a_service_that_does_not_start_stays_a_problem(self, run_tasks: Callable[[], None]) -> None:
        node = add("far", "203.0.113.5")
        NodeWatch.objects.create(node=node, keys_digest="earlier")
        fake.node(node.pk).fail("vmwatch_configure", CommandFailed("No room is left.", node="far"), times=1)
        registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        run_tasks()
        assert f"node:{node.pk}:vmwatch" in self.problems()

    def test_it_ends_with_the_last_node_too(self) -> None:
        node = add("far", "203.0.113.5")
        silence.check_master()
        Node.objects.filter(pk=node.pk).delete()
        silence.mark_silent()
        assert self.problems() == []

    def test_a_node_that_is_heard_again_is_checked(self) -> None:
        node = add("far", "203.0.113.5")
        long_ago = timezone.now() - timedelta(hours=1)
        watch = NodeWatch.objects.create(node=node, epoch=1, sequence=1, heard_at=long_ago)
        silence.mark_silent()
        assert self.problems() == [f"node:{node.pk}:silent"]
        NodeWatch.objects.filter(pk=watch.pk).update(heard_at=timezone.now())
        silence.mark_silent()
        assert self.problems() == []
        assert Task.objects.filter(operation="node.check", object_id=node.pk).count() == 1
