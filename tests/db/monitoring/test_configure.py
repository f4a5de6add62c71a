"""vmwatch.configure: the address, the secret, the file, and the running master."""

from __future__ import annotations

import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import ConfigError
from panel.monitoring import configure
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
        where, secret = configure.configure_master()
        assert (where, vmwatch_config.read(machine)) == ("", {"disabled": "yes", "secret": secret})
        add("far", "203.0.113.5")
        assert configure.configure_master() == ("tcp://192.0.2.7:1515", secret)
        read = vmwatch_config.read_master(machine)
        assert (read.disabled, read.listen, read.secret) == (False, "tcp://192.0.2.7:1515", secret)
        assert machine.stat().st_mode & 0o777 == 0o600

    def test_the_secret_is_of_capital_letters_and_digits_and_never_the_same(self, machine: Path) -> None:
        secrets = set()
        for _ in range(5):
            secrets.add(configure.configure_master()[1])
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


def test_the_command_configures_both_ends(run_tasks: object) -> None:
    node = add("far", "203.0.113.5")
    call_command("vmwatch_configure")
    run_tasks()  # type: ignore[operator]
    told = fake.node(node.pk).vmwatch
    assert told is not None
    assert (told.connect, told.node_id) == ("tcp://192.0.2.7:1515", node.pk)
    assert told.secret == configure.shared_secret()
