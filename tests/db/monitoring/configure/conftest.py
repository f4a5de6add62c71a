"""A machine on which vmwatch is to be configured, and a process that looks like its master."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from nodeagent.protocol import node as protocol
from panel.cluster import fake
from panel.cluster.models import Node
from panel.monitoring import configure, master
from tests.db.conftest import make_node

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


def told(node: Node) -> protocol.VmwatchConfigure:
    """What the node's vmwatch-node was last told."""
    found = fake.node(node.pk).vmwatch
    assert found is not None
    return found
