"""The real agent as a child process: the panel's own session speaks with it over a socket instead of ssh.

It has a folder of its own for everything that it keeps, a private libvirt test driver and, if asked,
a network namespace, so that it can do nothing to the machine, and a pool of its own where others have theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, cast

import paramiko

from panel.cluster import agent_package, session, ssh
from panel.cluster.client import Channel, Heed, NodeAddress, Progress, Report
from panel.core.errors import NodeRefused

PYTHON = "/usr/bin/python3"
"""The node's own Python, which has the libvirt bindings."""
OWN = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Pipe:
    """What the session uses of a paramiko channel, over a socket to the agent."""

    def __init__(self, own: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._socket = own
        self._process = process
        self.recv = own.recv
        self.sendall = own.sendall
        self.settimeout = own.settimeout
        self.close = own.close

    def recv_stderr_ready(self) -> bool:
        """Whether the agent said why it does not start."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        return self._process.poll() is not None

    def recv_stderr(self, size: int) -> bytes:
        """What it said."""
        assert self._process.stderr is not None
        return self._process.stderr.read(size)


class LocalConnection:
    """Stands where the session has its ssh connection."""

    def __init__(self, agent: LocalAgent) -> None:
        self.address = agent.address
        self._agent = agent
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the agent runs."""
        return self._process is not None and self._process.poll() is None

    def start_agent(self, path: str = "", *arguments: str) -> Pipe:
        """Start the agent."""
        own, theirs = socket.socketpair()
        process = self._agent.start(theirs, *arguments)
        if not arguments:
            self._socket, self._process = own, process
        theirs.close()
        return Pipe(own, process)

    def open_port(self, port: int) -> Channel:
        """A stream to a port of the machine."""
        return cast(Channel, socket.create_connection(("127.0.0.1", port), timeout=5))

    def upload(self, local: Path, remote: str, report: Report | None = None, heed: Heed | None = None) -> None:
        """Put a file in place, as the agent sees it."""
        assert self._process is not None
        try:
            descriptor = os.open(f"/proc/{self._process.pid}/root{remote}", os.O_WRONLY | os.O_TRUNC)
        except FileNotFoundError as error:
            raise NodeRefused(node=self.address.name, reason=str(error)) from error
        with open(local, "rb") as source, open(descriptor, "wb") as target:
            shutil.copyfileobj(source, target)
        if report is not None:
            report(Progress(1, 1))

    def close(self) -> None:
        """Close the agent's input, as a lost ssh connection does."""
        if self._socket is not None:
            # Not close(): that would leave the session's reader in its recv().
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class LocalAgent(session.Session):
    """A session with an agent on this machine."""

    def __init__(
        self, folder: Path, *, netns: bool = False, uri: str = "", own: tuple[Path, Path] | None = None
    ) -> None:
        """`own` is a folder, and where the agent sees it in place of what is there."""
        super().__init__(NodeAddress(name="local", address="127.0.0.1"))
        self.uri = uri or f"test://{folder}/libvirt.xml"
        self.folder = folder
        self.netns = netns
        self.own = own
        self.zipapp = folder / "nodeagent.pyz"
        self.zipapp.parent.mkdir(parents=True, exist_ok=True)
        self.zipapp.write_bytes(agent_package.files()[agent_package.AGENT_PATH])
        (folder / "libvirt.xml").write_text("<node/>")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.more_environment: dict[str, str] = {}
        self._namespace: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """What the agent takes for the node's /."""
        return self.folder / "root"

    @property
    def environment(self) -> dict[str, str]:
        """What the agent is started with."""
        return {
            **os.environ,
            "VMPANEL_NODE_ROOT": str(self.root),
            "VMPANEL_LIBVIRT_URI": self.uri,
            "HOME": str(self.folder / "home"),
            **self.more_environment,
        }

    def link(self) -> session.Link:
        """The running agent, started if need be."""
        with self._connecting:
            if self._link is None or not self._link.alive:
                connection = LocalConnection(self)
                channel = cast(paramiko.Channel, connection.start_agent())
                self._link = session.Link(cast(ssh.Connection, connection), channel)
            return self._link

    def start(self, theirs: socket.socket, *arguments: str) -> subprocess.Popen[bytes]:
        """Start an agent that converses over the socket."""
        argv = [PYTHON, str(self.zipapp), *arguments]
        if self._namespace is not None:
            argv = ["nsenter", f"--net=/proc/{self._namespace.pid}/ns/net", "--", *argv]
        elif self.netns:
            argv = ["unshare", "--net", "--", *argv]
        if self.own is not None:
            argv = ["unshare", "--mount", "--", "sh", "-c", OWN, "sh", *map(str, self.own), *argv]
        process = subprocess.Popen(
            argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, env=self.environment
        )
        self.processes.append(process)
        return process

    def hold_namespace(self) -> None:
        """Keep the agent's network namespace, whatever becomes of it: agents that are started later are in it too."""
        pid: Any = self.link().hello["pid"]
        self._namespace = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "--", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        until(lambda: self._namespace and os.readlink(f"/proc/{self._namespace.pid}/ns/net") != own)

    def run_in_namespace(self, *argv: str) -> str:
        """What a program prints in the agent's network namespace."""
        pid: Any = self._namespace.pid if self._namespace is not None else self.link().hello["pid"]
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net", *argv]
        return subprocess.run(inside, check=True, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """End the conversation and see that every agent ends by itself."""
        self.close()
        if self._namespace is not None:
            self._namespace.kill()
            self._namespace.wait()
        for process in self.processes:
            try:
                process.wait(10)
            finally:
                process.kill()
                process.wait()
                if process.stderr is not None:
                    process.stderr.close()

    def kill(self) -> None:
        """Have the agent die at once, as by SIGKILL."""
        self.processes[-1].send_signal(signal.SIGKILL)


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until the condition holds; fails the test when it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "what was waited for did not happen"
        time.sleep(0.01)
