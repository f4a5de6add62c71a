"""vmwatch.configure where the panel is not, and where two configure at the same time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from nodeagent.protocol import node as protocol
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import ConfigError, NotConfigured
from panel.monitoring import configure, keys, master
from panel.monitoring.models import NodeWatch
from panel.notices.models import Problem
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task
from tests.db.conftest import run_task
from tests.db.monitoring.configure.conftest import Daemon, add, told
from vmwatch import config as vmwatch_config
from vmwatch import wire


class TestElsewhere:
    """A worker on a machine where the panel and vmwatch-master are not."""

    @pytest.fixture
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Go there: a machine with another address, and no file of the master's."""

        def go() -> None:
            monkeypatch.setattr(settings.CONFIG, "panel_here", False)
            monkeypatch.setattr(settings.CONFIG, "vmwatch_config_dir", "/nowhere")
            monkeypatch.setattr(configure, "_own_addresses", lambda: ["198.51.100.9"])

        return go

    def test_it_tells_the_address_and_keys_that_the_panels_machine_has(
        self, elsewhere: Callable[[], None], run_tasks: Callable[[], None]
    ) -> None:
        node = add("far", "203.0.113.5")
        where, held = configure.configure_master()
        elsewhere()
        assert configure.configure_master() == (where, held)
        registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        run_tasks()
        assert (told(node).connect, told(node).secret) == (
            "tcp://192.0.2.7:1515",
            wire.own_secret(held.secret, node.pk),
        )

    def test_a_node_that_the_master_does_not_know_yet_waits_for_the_panels_machine(
        self, elsewhere: Callable[[], None], machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add("first", "203.0.113.4")
        configure.configure_master()
        node = add("far", "203.0.113.5")
        elsewhere()
        with pytest.raises(NotConfigured):
            configure.configure_master()
        monkeypatch.undo()
        monkeypatch.setattr(configure, "_own_addresses", lambda: ["192.0.2.7"])
        assert run_task(Task.objects.get(operation="vmwatch.configure")).status == Status.DONE
        assert node.pk in (vmwatch_config.read_master(machine).nodes or ())

    def test_before_anything_is_configured_it_makes_nothing_and_asks_for_it(
        self, elsewhere: Callable[[], None], machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vmwatch_config.write(machine, {"disabled": "yes", "secret": "EARLIER"})
        node = add("far", "203.0.113.5")
        here = settings.CONFIG.vmwatch_config_dir
        elsewhere()
        check = registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        engine.run(check.pk, "elsewhere")
        check.refresh_from_db()
        assert check.status == Status.DONE
        [problem] = Problem.objects.filter(open_key=f"node:{node.pk}:vmwatch")
        assert "configured" in problem.text
        assert keys.current() is None and fake.node(node.pk).vmwatch is None
        monkeypatch.setattr(settings.CONFIG, "panel_here", True)
        monkeypatch.setattr(settings.CONFIG, "vmwatch_config_dir", here)
        assert run_task(Task.objects.get(operation="vmwatch.configure")).status == Status.DONE
        elsewhere()
        held = keys.current()
        assert held is not None and told(node).secret == wire.own_secret(held.secret, node.pk)
        again = registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        assert run_task(again).status == Status.DONE
        assert not Problem.objects.filter(open_key=problem.open_key).exists()

    def test_it_tells_no_new_secret_before_the_masters_file_has_it(self, elsewhere: Callable[[], None]) -> None:
        add("far", "203.0.113.5")
        configure.configure_master()
        keys.rotate()
        elsewhere()
        with pytest.raises(NotConfigured, match="PanelHere"):
            configure.configure_master()
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1

    def test_it_leaves_the_operation_to_the_panels_machine(
        self, api: APIClient, elsewhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = add("far", "203.0.113.5")
        configure.configure_master()
        before = keys.current()
        elsewhere()
        answer = api.post("/api/v1/vmwatch/configure", {"rotate": True}, format="json")
        assert answer.status_code == 202
        task = Task.objects.get(operation="vmwatch.configure")
        assert engine.run(task.pk, "elsewhere") is None
        assert keys.current() == before
        monkeypatch.setattr(settings.CONFIG, "panel_here", True)
        assert run_task(task).status == Status.DONE
        assert before is not None and told(node).secret != wire.own_secret(before.secret, node.pk)

    def test_the_secret_is_not_changed_there(self, elsewhere: Callable[[], None]) -> None:
        before = keys.ensure()
        elsewhere()
        with pytest.raises(ConfigError, match="PanelHere"):
            configure.rotate()
        assert keys.current() == before

    def test_a_change_of_the_secret_that_ends_there_is_ended_by_the_panels_machine(
        self, elsewhere: Callable[[], None], run_tasks: Callable[[], None]
    ) -> None:
        node = add("far", "203.0.113.5")
        configure.rotate()
        configure.configure_master()
        elsewhere()
        registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        engine.run(Task.objects.get(operation="node.check").pk, "elsewhere")
        held = keys.current()
        assert held is not None and held.previous and told(node).secret == wire.own_secret(held.secret, node.pk)
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1

    def test_the_command_asks_for_the_task(self, elsewhere: Callable[[], None]) -> None:
        elsewhere()
        call_command("vmwatch_configure")
        assert keys.current() is None
        assert Task.objects.filter(operation="vmwatch.configure").count() == 1


class TestRaces:
    """Who tells a node while another changes what there is to tell."""

    def during_the_call(self, node: Node, happens: Callable[[], None]) -> None:
        """Have something happen between the reading of the keys and the node's hearing of them, once."""
        memory = fake.node(node.pk)
        handler = memory._vmwatch_configure

        def late(request: protocol.VmwatchConfigure, report: Any) -> Any:
            memory._vmwatch_configure = handler  # type: ignore[method-assign]
            happens()
            return handler(request, report)

        memory._vmwatch_configure = late  # type: ignore[method-assign]

    def test_a_node_that_hears_the_forgotten_secret_last_is_told_the_new_one(
        self, run_tasks: Callable[[], None]
    ) -> None:
        node = add("far", "203.0.113.5")
        configure.configure_master()

        def change() -> None:
            task = registry.get("vmwatch.configure").submit(system_user(), {"rotate": True}, object_id=1)
            assert run_task(task).result["rotated"] is True

        self.during_the_call(node, change)
        registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        run_tasks()
        held = keys.current()
        assert held is not None and held.previous == ""
        assert told(node).secret == wire.own_secret(held.secret, node.pk)
        assert NodeWatch.objects.get(node=node).keys_digest == held.digest

    def test_a_node_that_hears_an_old_address_last_is_told_the_new_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        node = add("far", "203.0.113.5")
        configure.configure_master()

        def move() -> None:
            monkeypatch.setattr(settings.CONFIG, "vmwatch_listen_ip", "192.0.2.8")
            configure.configure_master()

        self.during_the_call(node, move)
        run_task(registry.get("node.check").submit(system_user(), {}, object_id=node.pk))
        assert told(node).connect == "tcp://192.0.2.8:1515"

    def test_only_the_secret_that_was_compared_ends_the_previous_one(self) -> None:
        node = add("far", "203.0.113.5")
        first = keys.rotate()
        keys.note_master("tcp://192.0.2.7:1515", first, [node.pk])
        assert not keys.forget_previous(first.digest)
        assert keys.note_node(node, "tcp://192.0.2.7:1515", first)
        assert not keys.forget_previous("another")
        assert keys.forget_previous(first.digest)
        second = keys.rotate()
        assert not keys.forget_previous(first.digest)
        assert not keys.note_node(node, "tcp://192.0.2.7:1515", first)
        assert keys.current() == second

    def test_the_previous_secret_is_believed_until_the_master_has_read_its_file(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add("far", "203.0.113.5")
        configure.configure_master()
        monkeypatch.setattr(master, "READ_SECONDS", 0.05)
        daemon.pauses()
        task = registry.get("vmwatch.configure").submit(system_user(), {"rotate": True}, object_id=1)
        assert run_task(task).result["rotated"] is False
        daemon.goes_on()
        assert [daemon.says(), daemon.says()] == ["hup", "hup"]
        assert configure.end_rotation()
