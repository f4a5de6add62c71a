"""vmwatch.configure: the address, the running master, and the keys."""

from __future__ import annotations

import socket
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core import secretbox
from panel.core.errors import ConfigError, NodeUnreachable
from panel.monitoring import configure, keys, master
from panel.monitoring.models import WatchKeys
from panel.tasks import registry
from panel.tasks.models import Task
from tests.contract.local_agent import until
from tests.db.conftest import run_task
from tests.db.monitoring.configure.conftest import Daemon, add, told
from vmwatch import config as vmwatch_config
from vmwatch import wire


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
        assert (where, vmwatch_config.read(machine)) == ("", {"disabled": "yes", "secret": secret, "nodes": ""})
        node = add("far", "203.0.113.5")
        assert configure.configure_master() == ("tcp://192.0.2.7:1515", held)
        read = vmwatch_config.read_master(machine)
        assert (read.disabled, read.listen, read.secret) == (False, "tcp://192.0.2.7:1515", secret)
        assert read.nodes == {node.pk}
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


class TestKeys:
    """Where the secret comes from."""

    def test_that_of_an_earlier_version_which_every_node_has_is_believed_until_each_has_its_own(
        self, machine: Path
    ) -> None:
        vmwatch_config.write(machine, {"disabled": "no", "secret": "EARLIER"})
        self.becomes_each_ones_own(machine)

    def test_that_of_an_earlier_version_in_the_database_too(self, machine: Path) -> None:
        sealed = secretbox.seal({"secret": "EARLIER", "previous": "", "curve_public": "", "curve_secret": ""})
        row = WatchKeys.objects.create(id=1, sealed=sealed)
        held = keys.current()
        # The master proves itself to the panel with it until it has read its new file.
        assert held is not None and held.secret == "EARLIER"
        WatchKeys.objects.filter(pk=row.pk).update(master_digest=held.digest, endpoint="tcp://192.0.2.7:1515")
        assert keys.told() == ("", None), "nothing for nodes can be made of what every node has"
        self.becomes_each_ones_own(machine)

    def becomes_each_ones_own(self, machine: Path) -> None:
        near, far = add("near", "192.0.2.8"), add("far", "203.0.113.5")
        fake.node(far.pk).fail("vmwatch_configure", NodeUnreachable(node="far", reason="cut off"), times=1)
        task = registry.get("vmwatch.configure").submit(system_user(), {}, object_id=1)
        assert run_task(task).result["rotated"] is False
        read = vmwatch_config.read_master(machine)
        assert (read.shared_secret, read.nodes) == ("EARLIER", {near.pk, far.pk})
        assert told(near).secret == wire.own_secret(read.secret, near.pk) != wire.own_secret("EARLIER", near.pk)
        run_task(registry.get("node.check").submit(system_user(), {}, object_id=far.pk))
        assert told(far).secret == wire.own_secret(read.secret, far.pk) != told(near).secret
        after = vmwatch_config.read_master(machine)
        assert (after.shared_secret, after.secret) == ("", read.secret)

    def test_a_file_that_is_there_alone_keeps_its_secret(self, machine: Path) -> None:
        secret = configure.configure_master()[1].secret
        WatchKeys.objects.all().delete()
        assert configure.configure_master()[1] == keys.Keys(secret)

    @pytest.mark.parametrize("operation", ["node.remove", "node.forget"])
    def test_that_of_a_node_that_is_gone_is_worth_nothing(
        self, machine: Path, operation: str, run_tasks: Callable[[], None]
    ) -> None:
        near, far = add("near", "192.0.2.8"), add("far", "203.0.113.5")
        configure.configure_master()
        assert vmwatch_config.read_master(machine).nodes == {near.pk, far.pk}
        registry.get(operation).submit(system_user(), {}, object_id=far.pk)
        run_tasks()
        assert not Node.objects.filter(pk=far.pk).exists()
        assert vmwatch_config.read_master(machine).nodes == {near.pk}

    def test_it_is_sealed_in_the_database_and_not_shown(self) -> None:
        held = keys.ensure()
        assert held.secret.encode() not in bytes(WatchKeys.objects.get().sealed)
        assert held.secret not in repr(held)
