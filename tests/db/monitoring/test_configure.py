"""vmwatch.configure: the address, the secret, the file, and the running master."""

from __future__ import annotations

import signal
import socket
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol import node as protocol
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, ConfigError, NodeUnreachable, NotConfigured
from panel.monitoring import configure, keys, master, silence
from panel.monitoring.models import MasterWatch, NodeWatch, WatchKeys
from panel.notices.models import Problem
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskLog
from tests.contract.local_agent import until
from tests.db.conftest import make_node, run_task
from vmwatch import config as vmwatch_config

ADDRESSES = ["127.0.0.1", "192.0.2.7", "192.0.2.8"]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with two addresses, on which nothing is configured; answers the master's file."""
    monkeypatch.setattr(configure, "_own_addresses", lambda: list(ADDRESSES))
    path = settings.CONFIG.vmwatch_master_conf
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)
    master.pid_file().unlink(missing_ok=True)
    master.mark_file().unlink(missing_ok=True)


def add(name: str, address: str) -> Node:
    """A node at an address."""
    node = make_node(name)
    Node.objects.filter(pk=node.pk).update(address=address)
    return node


class Daemon:
    """A process that reads a file on SIGHUP, says so, and looks like vmwatch-master."""

    SCRIPT = """
import signal, sys
from pathlib import Path
from vmwatch import config

def hang_up(*_):
    Path(sys.argv[2]).write_text(config.digest(Path(sys.argv[1])))
    print("hup", flush=True)

signal.signal(signal.SIGHUP, hang_up)
print("up", flush=True)
while True:
    signal.pause()
"""

    def __init__(self, path: Path) -> None:
        master.mark_file().parent.mkdir(parents=True, exist_ok=True)
        master.mark_file().write_text("nothing yet", encoding="ascii")
        argv = [sys.executable, "-c", self.SCRIPT, str(path), str(master.mark_file()), "vmwatch-master"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.says() == "up"
        master.pid_file().write_text(str(self.process.pid), encoding="ascii")

    def says(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def pauses(self) -> None:
        """It does nothing for a while."""
        self.process.send_signal(signal.SIGSTOP)

    def goes_on(self) -> None:
        """It does what it was told meanwhile."""
        self.process.send_signal(signal.SIGCONT)

    def ends(self) -> str:
        """End it; answers what it said meanwhile."""
        self.process.kill()
        assert self.process.stdout is not None
        with self.process.stdout as said:
            left = said.read()
        self.process.wait()
        return left


@pytest.fixture
def daemon(machine: Path) -> Iterator[Daemon]:
    """A vmwatch-master that runs, and has not read the file that is to come."""
    made = Daemon(machine)
    yield made
    if made.process.poll() is None:
        made.ends()


class TestAddress:
    """The documented order."""

    def test_the_option_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add("local", "192.0.2.8")
        monkeypatch.setattr(settings.CONFIG, "vmwatch_listen_ip", "198.51.100.1")
        assert configure.listen_ip() == "198.51.100.1"

    def test_then_the_address_of_the_node_that_is_this_machine(self) -> None:
        add("far", "203.0.113.5")
        add("local", "192.0.2.8")
        assert configure.listen_ip() == "192.0.2.8"

    def test_then_the_first_address_that_is_not_loopback(self) -> None:
        add("far", "203.0.113.5")
        assert configure.listen_ip() == "192.0.2.7"

    def test_loopback_does_while_all_nodes_are_here(self) -> None:
        add("local", "127.0.0.1")
        assert configure.listen_ip() == "127.0.0.1"

    def test_loopback_does_not_once_a_node_is_elsewhere(self) -> None:
        add("local", "127.0.0.1")
        add("far", "203.0.113.5")
        assert configure.listen_ip() == "192.0.2.7"

    def test_a_machine_without_an_address_is_told_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(configure, "_own_addresses", lambda: ["127.0.0.1"])
        add("far", "203.0.113.5")
        with pytest.raises(ConfigError, match="VmwatchListenIp"):
            configure.listen_ip()


class TestMaster:
    """vmwatch-master.conf."""

    def test_it_is_disabled_until_there_is_a_node_and_keeps_its_secret_then(self, machine: Path) -> None:
        where, held = configure.configure_master()
        secret = held.secret
        assert (where, vmwatch_config.read(machine)) == ("", {"disabled": "yes", "secret": secret})
        add("far", "203.0.113.5")
        assert configure.configure_master() == ("tcp://192.0.2.7:1515", held)
        read = vmwatch_config.read_master(machine)
        assert (read.disabled, read.listen, read.secret) == (False, "tcp://192.0.2.7:1515", secret)
        assert machine.stat().st_mode & 0o777 == 0o600

    def test_the_secret_is_of_capital_letters_and_digits_and_never_the_same(self, machine: Path) -> None:
        secrets = set()
        for _ in range(5):
            secrets.add(configure.configure_master()[1].secret)
            WatchKeys.objects.all().delete()
            machine.unlink()
        assert len(secrets) == 5
        assert all(set(each) <= set(string.ascii_uppercase + string.digits) and len(each) >= 32 for each in secrets)

    def test_a_running_master_is_told_of_a_change_and_of_nothing_else(self, daemon: Daemon) -> None:
        configure.configure_master()
        assert daemon.says() == "hup"
        configure.configure_master()
        assert daemon.ends() == ""

    def test_what_nodes_are_told_the_master_has_read_before(self, daemon: Daemon, machine: Path) -> None:
        add("far", "203.0.113.5")
        assert not master.has_read(machine)
        configure.configure_master()
        assert master.has_read(machine)
        assert daemon.ends() == "hup\n"

    def test_the_real_one_has_read_a_new_secret_when_nodes_are_told(
        self, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add("far", "203.0.113.5")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setattr(settings.CONFIG, "vmwatch_listen_port", probe.getsockname()[1])
        monkeypatch.setattr(settings.CONFIG, "vmwatch_listen_ip", "127.0.0.1")
        configure.configure_master()
        master.pid_file().parent.mkdir(parents=True, exist_ok=True)
        argv = ["--config", str(machine), "--log", str(tmp_path / "log"), "--pid-file", str(master.pid_file())]
        with subprocess.Popen([sys.executable, "-m", "vmwatch.master", *argv]) as process:
            try:
                until(lambda: master.mark_file().exists() and master.has_read(machine))
                for _ in range(3):
                    before = master.mark_file().read_text(encoding="ascii")
                    configure.rotate()
                    configure.configure_master()
                    assert master.mark_file().read_text(encoding="ascii") == vmwatch_config.digest(machine) != before
                    task = registry.get("vmwatch.configure").submit(system_user(), {}, object_id=1)
                    assert run_task(task).result["rotated"] is True
                    assert "previous_secret" not in vmwatch_config.read(machine)
                    assert master.has_read(machine)
            finally:
                process.terminate()

    def test_one_that_does_not_read_is_not_waited_for_for_ever_and_is_told_again(
        self, daemon: Daemon, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add("far", "203.0.113.5")
        monkeypatch.setattr(master, "READ_SECONDS", 0.05)
        daemon.pauses()
        configure.configure_master()
        assert not master.has_read(machine)
        daemon.goes_on()
        assert daemon.says() == "hup"
        master.mark_file().write_text("another", encoding="ascii")
        configure.configure_master()
        assert daemon.says() == "hup"

    def test_another_process_that_has_its_number_by_now_is_left_alone(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as other:
            master.pid_file().parent.mkdir(parents=True, exist_ok=True)
            master.pid_file().write_text(str(other.pid), encoding="ascii")
            configure.configure_master()
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(0.2)
            other.kill()

    def test_a_new_address_has_every_node_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        node = add("local", "127.0.0.1")
        configure.configure_master()
        assert not Task.objects.exists()
        add("far", "203.0.113.5")
        configure.configure_master()
        assert Task.objects.filter(operation="node.check", object_id=node.pk).exists()


def told(node: Node) -> protocol.VmwatchConfigure:
    """What the node's vmwatch-node was last told."""
    found = fake.node(node.pk).vmwatch
    assert found is not None
    return found


class TestKeys:
    """Where the secret comes from."""

    def test_the_secret_of_an_earlier_version_is_kept(self, machine: Path) -> None:
        vmwatch_config.write(machine, {"disabled": "yes", "secret": "EARLIER"})
        assert configure.configure_master()[1].secret == "EARLIER"
        machine.unlink()
        assert configure.configure_master()[1].secret == "EARLIER"

    def test_it_is_sealed_in_the_database_and_not_shown(self) -> None:
        held = keys.ensure()
        assert held.secret.encode() not in bytes(WatchKeys.objects.get().sealed)
        assert held.secret not in repr(held)


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
        assert (told(node).connect, told(node).secret) == ("tcp://192.0.2.7:1515", held.secret)

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
        assert told(node).secret == "EARLIER"
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
        assert before is not None and told(node).secret != before.secret

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
        assert held is not None and held.previous and told(node).secret == held.secret
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
        assert told(node).secret == held.secret
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
        keys.note_master("tcp://192.0.2.7:1515", first)
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
        assert (told(node).connect, told(node).secret) == (read.listen, read.secret)
        assert (told(node).node_id, told(node).resync) == (node.pk, 15.0)

    def test_a_new_secret_is_believed_beside_the_previous_one_until_all_have_it(
        self, api: APIClient, machine: Path, run_tasks: Callable[[], None]
    ) -> None:
        near, far = add("near", "192.0.2.8"), add("far", "203.0.113.5")
        self.ask(api)
        run_tasks()
        before = told(near).secret
        fake.node(far.pk).fail("vmwatch_configure", NodeUnreachable(node="far", reason="cut off"), times=1)
        self.ask(api, rotate=True)
        run_tasks()
        read = vmwatch_config.read_master(machine)
        assert (read.previous_secret, told(far).secret) == (before, before)
        assert told(near).secret == read.secret != before
        # Asked again meanwhile: the change that is under way goes on.
        assert keys.rotate().secret == read.secret
        registry.get("node.check").submit(system_user(), {}, object_id=far.pk)
        run_tasks()
        assert told(far).secret == read.secret
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
        assert (told(node).connect, told(node).secret, held.previous) == ("tcp://192.0.2.7:1515", held.secret, "")


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
