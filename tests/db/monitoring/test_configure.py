"""vmwatch.configure: the address, the secret, the file, and the running master."""

from __future__ import annotations

import signal
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol import node as protocol
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import ConfigError, NodeUnreachable
from panel.monitoring import configure, keys, silence
from panel.monitoring.models import MasterWatch, NodeWatch, WatchKeys
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Task
from tests.db.conftest import make_node
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
    configure.pid_file().unlink(missing_ok=True)


def add(name: str, address: str) -> Node:
    """A node at an address."""
    node = make_node(name)
    Node.objects.filter(pk=node.pk).update(address=address)
    return node


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

    def test_a_running_master_is_told_of_a_change_and_of_nothing_else(self, tmp_path: Path) -> None:
        script = "import signal,sys\nsignal.signal(1, lambda *_: print('hup', flush=True))\nprint('up', flush=True)\n"
        script += "while True: signal.pause()\n"
        argv = [sys.executable, "-c", script, "vmwatch-master"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as master:
            assert master.stdout is not None and master.stdout.readline() == "up\n"
            configure.pid_file().parent.mkdir(parents=True, exist_ok=True)
            configure.pid_file().write_text(str(master.pid), encoding="ascii")
            configure.configure_master()
            assert master.stdout.readline() == "hup\n"
            configure.configure_master()
            master.send_signal(signal.SIGTERM)
            assert master.stdout.read() == ""

    def test_another_process_that_has_its_number_by_now_is_left_alone(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as other:
            configure.pid_file().parent.mkdir(parents=True, exist_ok=True)
            configure.pid_file().write_text(str(other.pid), encoding="ascii")
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

    def test_a_worker_elsewhere_has_it_and_writes_no_file(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here = configure.configure_master()[1]
        machine.unlink()
        monkeypatch.setattr(settings.CONFIG, "panel_here", False)
        assert configure.configure_master()[1] == here
        assert not machine.exists()


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
