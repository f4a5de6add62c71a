"""script/server on a host of its own: set up, served, stopped, started again, and its refusals.

It runs from a checkout with an environment of its own, which has nothing but what the panel asks for: the tests' own
would hide a package that is asked for by them alone.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.hosts import Lab, Node

TOP = Path(__file__).resolve().parents[2]
VAR = "/srv/vmpanel"
READY = "Everything is ready. Ctrl-C stops it."
SERVED = "The panel is served at https://localhost:1500/"
SECOND_START_SECONDS = 15.0


class Server:
    """A script/server that runs on the node; `lines` is what it said so far."""

    def __init__(self, node: Node, checkout: Path, *options: str) -> None:
        self.node = node
        argv = node.argv([str(checkout / "script" / "server"), "--var", VAR, *options])
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.began = time.monotonic()
        self.lines: list[str] = []

    def read_until(self, line: str) -> float:
        """Read what it says until this line; answers the seconds since it was started."""
        assert self.process.stdout is not None
        for said in self.process.stdout:
            self.lines.append(said.rstrip("\n"))
            if self.lines[-1] == line:
                return time.monotonic() - self.began
        raise AssertionError("\n".join(self.lines))

    def stop(self) -> int:
        """Press Ctrl-C; answers the exit code."""
        self.node.kill(*self.own_pids(), signal_name="INT")
        output, _ = self.process.communicate(timeout=120)
        self.lines += output.splitlines()
        return self.process.returncode

    def own_pids(self) -> list[int]:
        """The node's number of script/server itself."""
        return [pid for pid, words in processes(self.node) if "-m panel.standalone --var" in words]


def processes(node: Node) -> list[tuple[int, str]]:
    """All processes of the node, with their command lines."""
    rows = node.run(["ps", "-ww", "-e", "-o", "pid=,args="]).stdout.splitlines()
    return [(int(row.split(None, 1)[0]), row.split(None, 1)[1]) for row in rows]


@contextmanager
def running(node: Node, checkout: Path, *options: str) -> Iterator[Server]:
    server = Server(node, checkout, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """What is in the repository, set up as script/server does it where nobody develops; hosts see it too."""
    names = subprocess.run(
        ["git", "-C", str(TOP), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    with tempfile.TemporaryDirectory(dir=TOP / "var", prefix="checkout-") as folder:
        Path(folder).chmod(0o755)
        for name in filter(None, names.split("\0")):
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, target)
        # Fetched once for a machine; they come from package-lock.json, whoever asks.
        assets = Path("panel/web/static/vendor")
        shutil.copytree(TOP / assets, folder / assets)
        subprocess.run([str(Path(folder) / "script" / "setup")], check=True, capture_output=True)
        yield Path(folder)


@pytest.fixture(scope="module")
def host(checkout: Path) -> Iterator[Node]:
    """A host with nothing of ours but the checkout, and the image that script/image would make."""
    with Lab.create(1) as lab:
        node = lab.nodes[0]
        images = TOP / "var" / "images"
        node.run(["mkdir", "-p", f"{VAR}/images"])
        node.run(["cp", str(images / "tiny.qcow2"), str(images / "tiny.json"), f"{VAR}/images/"])
        yield node


@pytest.fixture(scope="module")
def first(host: Node, checkout: Path) -> list[str]:
    """What the first start said; it has ended."""
    with running(host, checkout, "--images", "tiny") as server:
        server.read_until(READY)
        assert server.stop() == 0
    return server.lines


def test_first_start_leads_to_a_vm_that_one_can_log_in_to(host: Node, first: list[str]) -> None:
    assert any(line.startswith("Administrator: admin, password: ") for line in first)
    assert SERVED in first
    assert any("Wait until the guest answers" in line for line in first)
    login = next(line for line in first if line.startswith("The first VM answers as “first”: "))
    argv = shlex.split(login.partition(": ")[2])
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    # The VM outlives its panel.
    assert host.run([*argv[:1], *options, *argv[1:], "hostname"]).stdout == "first\n"


def test_end_leaves_the_vm_and_nothing_else(host: Node, first: list[str]) -> None:
    left = [words.split()[0].rpartition("/")[2] for _, words in processes(host)]
    assert left.count("qemu-system-x86_64") == 1
    assert not {"mariadbd", "redis-server", "libvirtd", "uvicorn", "celery", "supervisord"} & set(left)
    assert not [words for _, words in processes(host) if "vmwatch" in words or ".venv" in words]
    assert first[-1] == "Stopped; VMs that ran still run."


def test_second_start_is_served_soon_and_makes_nothing_anew(host: Node, checkout: Path, first: list[str]) -> None:
    with running(host, checkout, "--images", "tiny", "--stop-vms") as server:
        assert server.read_until(SERVED) < SECOND_START_SECONDS
        server.read_until(READY)
        assert server.stop() == 0
    assert not [line for line in server.lines if "password" in line or line.startswith(("Making", "Deploying"))]
    assert "Stopped." in server.lines
    assert not [words for _, words in processes(host) if "qemu-system" in words]


@pytest.mark.nightly
def test_killed_server_takes_everything_along_and_can_be_started_again(
    host: Node, checkout: Path, first: list[str]
) -> None:
    with running(host, checkout, "--images", "tiny", "--stop-vms") as server:
        server.read_until(READY)
        host.kill(*server.own_pids())
        server.process.wait(30)
    with running(host, checkout, "--images", "tiny", "--stop-vms") as server:
        server.read_until(READY)
        assert server.stop() == 0
    assert not [words for _, words in processes(host) if ".venv" in words]


def refusal(node: Node, *argv: str) -> str:
    """The one sentence with which a command gives up."""
    done = node.run(list(argv), check=False)
    assert done.returncode not in (0, 130), done.stdout
    said = (done.stdout + done.stderr).strip().splitlines()
    assert len(said) == 1, said
    return said[0]


def test_taken_port_is_one_sentence(host: Node, checkout: Path) -> None:
    code = "import os, socket, time; s = socket.create_server(('0.0.0.0', 1700)); print(os.getpid(), flush=True)"
    with subprocess.Popen(host.argv(["python3", "-c", f"{code}; time.sleep(600)"]), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        try:
            said = refusal(host, str(checkout / "script" / "server"), "--var", "/srv/other", "--port", "1700")
        finally:
            host.kill(pid)
    assert said == "script/server: Port 1700 is taken by another program; choose another with --port."


def test_full_disk_is_one_sentence(host: Node, checkout: Path) -> None:
    host.run(["mkdir", "-p", "/srv/small"])
    host.run(["mount", "-t", "tmpfs", "-o", "size=50M", "small", "/srv/small"])
    try:
        said = refusal(host, str(checkout / "script" / "server"), "--var", "/srv/small/var")
    finally:
        host.run(["umount", "/srv/small"])
    assert said == "script/server: needs 6000 MiB of free disk space in /srv/small/var; there are 50 MiB."


def test_missing_privilege_is_one_sentence(host: Node, checkout: Path) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    said = refusal(host, *as_nobody, str(checkout / "script" / "server"))
    assert said == "script/server: must be run as root: it installs packages and starts virtual machines."


def test_help_lists_the_options_without_root(host: Node, checkout: Path) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    shown = host.run([*as_nobody, str(checkout / "script" / "server"), "--help"]).stdout
    for option in ("--var", "--port", "--images", "--no-first-vm", "--stop-vms"):
        assert option in shown
