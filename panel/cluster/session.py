"""A node session: the agent on a node, started once over ssh and spoken to in JSON lines.

The panel's programs are brought there first where they are missing or another version's. One session
a process and node (get()); many threads may call. The agent's errors are translated here alone.
docs/nodeagent.md describes the lines.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from django.conf import settings

from nodeagent.protocol import PROTOCOL_VERSION, BadMessage, Fence, Request, from_dict, to_dict
from panel import __version__
from panel.cluster import agent_package, answers, ssh
from panel.cluster.client import HEED_SECONDS, Channel, Heed, NodeAddress, Pools, Progress, Report
from panel.cluster.porter import Porter
from panel.core import request_id
from panel.core.errors import (
    Cancelled,
    CommandFailed,
    Drifted,
    Fenced,
    LibvirtFailure,
    NodeError,
    NodeRefused,
    NodeTimeout,
    NodeUnreachable,
    VersionMismatch,
)

T = TypeVar("T")
log = logging.getLogger(__name__)

PING_SECONDS = 5.0
SILENCE_SECONDS = 20.0
"""A node that answers no ping for so long is unreachable; the agent for its part ends after 30 s of silence."""
GRACE_SECONDS = 5.0
"""How long past its deadline a call waits for the agent to say so itself."""
HELLO_SECONDS = 20.0
SERIAL = "--serial"
SERIAL_SECONDS = 20.0
"""How long an agent may take to have a domain's serial port."""
MOST_PROGRESS = 1000
"""Reports of a call that wait for whoever asked; what is more is not told."""
BAD_ANSWER = "bad_answer"
"""The code of an error for an answer that cannot be read."""


class Link:
    """One running agent: a connection, a reader thread, the calls that wait."""

    def __init__(self, connection: ssh.Connection, channel: paramiko.Channel) -> None:
        self.connection = connection
        self.name = connection.address.name
        self.channel = channel
        self.waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self.lost = ""
        self._next = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._lines = answers.Lines()
        self._came: collections.deque[bytes] = collections.deque()
        self._heard = self._pinged = time.monotonic()
        self._send({"hello": {"protocol": PROTOCOL_VERSION, "panel": __version__}})
        self.hello = self._read_hello()
        threading.Thread(target=self._read, name=f"node-{self.name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return not self.lost and self.connection.alive

    def begin(self, body: dict[str, Any]) -> tuple[int, queue.SimpleQueue[dict[str, Any]]]:
        """Send a request; its answers come out of the queue, at the end of the link an "unreachable" one."""
        with self._lock:
            self._next += 1
            number = self._next
            said = self.waiting[number] = queue.SimpleQueue()
        self._send({"id": number, **body})
        if self.lost:
            said.put({"lost": self.lost})
        return number, said

    def forget(self, number: int, *, cancel: bool) -> None:
        """Wait no longer for a request, and have the agent stop it if `cancel`."""
        self.waiting.pop(number, None)
        if cancel and self.alive:
            self._send({"id": number, "cancel": True})

    def close(self, reason: str = "closed") -> None:
        """End the agent and the connection; whoever waits is told the reason."""
        self.lost = self.lost or reason
        self.connection.close()
        for said in list(self.waiting.values()):
            said.put({"lost": self.lost})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._sending:
                self.channel.sendall((json.dumps(message) + "\n").encode())
        except (OSError, EOFError, paramiko.SSHException) as error:
            self.close(str(error) or "the connection was lost")

    def _read_hello(self) -> dict[str, Any]:
        until = time.monotonic() + HELLO_SECONDS
        try:
            while (answer := _greeting(self._lines.read(self._read_line(until)))) is None:
                # Something that root's start files left running prints beside the agent.
                continue
        except TimeoutError as error:
            raise NodeTimeout(node=self.name, command="hello", seconds=HELLO_SECONDS) from error
        except answers.Malformed as error:
            raise NodeUnreachable(node=self.name, reason=f"its agent said {error}") from error
        hello: dict[str, Any] | None = answer.get("hello")
        if hello is None or hello.get("protocol") != PROTOCOL_VERSION:
            raise VersionMismatch(node=self.name, panel=PROTOCOL_VERSION, agent=_version(answer))
        return hello

    def _read_line(self, until: float) -> bytes:
        while not self._came:
            self.channel.settimeout(max(0.01, until - time.monotonic()))
            block = self._receive_hello()
            if not block:
                raise NodeUnreachable(node=self.name, reason=f"its agent does not start{self._stderr()}")
            self._came.extend(self._lines.feed(block))
        return self._came.popleft()

    def _receive_hello(self) -> bytes:
        try:
            return self.channel.recv(65536)
        except (ConnectionError, EOFError, paramiko.SSHException):
            return b""

    def _stderr(self) -> str:
        if not self.channel.recv_stderr_ready():
            return ""
        lines = self.channel.recv_stderr(2000).decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _read(self) -> None:
        """Take what comes until the link ends; whatever happens here, it is closed then and nobody waits on."""
        reason = "the connection was lost"
        try:
            reason = self._take() or reason
        except answers.Malformed as error:
            reason = f"its agent said what is no answer: {error}"
            log.warning("%s: %s", self.name, reason)
        except Exception:
            log.exception("%s: the reader broke", self.name)
        self.close(reason)

    def _take(self) -> str:
        """Take what comes; answers why it ended, if that is known."""
        self.channel.settimeout(PING_SECONDS)
        while self._came:
            self._dispatch(self._came.popleft())
        while not self.lost:
            self._ping_when_due()
            try:
                block = self.channel.recv(262144)
            except TimeoutError:
                if time.monotonic() - self._heard > SILENCE_SECONDS:
                    return f"it has been silent for {SILENCE_SECONDS:g} s"
                continue
            except (OSError, paramiko.SSHException, EOFError) as error:
                return str(error)
            if not block:
                return "its agent ended"
            self._heard = time.monotonic()
            for line in self._lines.feed(block):
                self._dispatch(line)
        return ""

    def _ping_when_due(self) -> None:
        # By the clock, not by silence: an agent that reports progress all the time must hear of us too.
        if time.monotonic() - self._pinged >= PING_SECONDS:
            self._pinged = time.monotonic()
            self._send({"ping": 1})

    def _dispatch(self, line: bytes) -> None:
        message = self._lines.read(line)
        if message is None:
            log.warning("%s: a line that is no message: %.100r", self.name, line)
            return
        message = answers.checked(message)
        number: int | None = message.get("id")
        waiting = self.waiting.get(number) if number is not None else None
        if waiting is None or number is None:
            return
        if "progress" not in message:
            # There is one answer: more would be held for nobody.
            self.waiting.pop(number, None)
        elif waiting.qsize() >= MOST_PROGRESS:
            return
        waiting.put(message)


def _greeting(answer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The agent's hello, or its error in place of one; None for what is neither."""
    greets = answer is not None and any(isinstance(answer.get(each), dict) for each in ("hello", "error"))
    return answer if greets else None


def _version(answer: dict[str, Any]) -> int | str:
    """The version that an agent of another one says it has."""
    data = answer.get("error", {}).get("data")
    said = data.get("agent") if isinstance(data, dict) else answer.get("hello", {}).get("protocol")
    return said if isinstance(said, int) else str(said)[:20] if isinstance(said, str) else "?"


class Session:
    """A node's client; connects when it is first needed and again after a loss."""

    def __init__(self, address: NodeAddress) -> None:
        self.address = address
        self._link: Link | None = None
        self._connecting = threading.Lock()

    def link(self) -> Link:
        """The running agent, started if need be; raises NodeUnreachable, NodeRefused, VersionMismatch."""
        with self._connecting:
            if self._link is None or not self._link.alive:
                connection = ssh.open_connection(self.address, settings.CONFIG.node_connect_seconds)
                try:
                    porter = connection.start_porter()
                    self._bring_programs(porter)
                    self._link = Link(connection, porter.become_agent(agent_package.AGENT_PATH))
                except BaseException:
                    connection.close()
                    raise
            return self._link

    def _bring_programs(self, porter: Porter) -> None:
        try:
            if replaced := agent_package.bring(porter):
                log.info("%s: brought up to date: %s", self.address.name, ", ".join(replaced))
        except NodeRefused as error:
            # Its disk is full, for one: the agent that is there may do, and node.check says what is wrong.
            log.warning("%s: its programs cannot be brought up to date: %s", self.address.name, error.message)

    def update_programs(self) -> list[str]:
        """Have the panel's own programs on the node and in use; answers the paths of those that were replaced.

        Raises CommandFailed where they cannot be written, else as link() does.
        """
        known = self._link
        try:
            replaced = self._replace_programs()
        except NodeUnreachable:
            if known is None or self._link is not known:
                raise
            # A connection that died while nobody used it says nothing of the node: a new one does.
            self.close()
            replaced = self._replace_programs()
        if agent_package.AGENT_PATH in replaced:
            self.close()
        return replaced

    def _replace_programs(self) -> list[str]:
        connection = self.link().connection
        try:
            with connection.porter() as porter:
                return agent_package.bring(porter)
        except NodeRefused as error:
            reason = str(error.data.get("reason", error.message))
            raise CommandFailed(node=self.address.name, command="update", agent_code="", text=reason) from error

    def call(
        self,
        request: Request[T],
        *,
        deadline: float = 60.0,
        fence: Fence | None = None,
        progress: Report | None = None,
        pools: Pools | None = None,
        heed: Heed | None = None,
    ) -> T:
        """Have the node carry out `request` within `deadline` seconds, in pools that are what is known of them."""
        link = self.link()
        body = {
            "command": request.COMMAND,
            "params": to_dict(request),
            "deadline": deadline,
            "request_id": request_id.current(),
            "fence": to_dict(fence) if fence is not None else None,
            "pools": {name: to_dict(known) for name, known in (pools or {}).items()},
        }
        number, said = link.begin(body)
        finished = False
        try:
            result = self._await(request, said, deadline, progress, heed)
            finished = True
            return result
        except NodeError as error:
            # The agent ended it, unless the agent does not know that time is over.
            finished = not isinstance(error, NodeTimeout)
            raise
        finally:
            link.forget(number, cancel=not finished)

    def _await(
        self,
        request: Request[T],
        said: queue.SimpleQueue[dict[str, Any]],
        deadline: float,
        progress: Report | None,
        heed: Heed | None,
    ) -> T:
        until = time.monotonic() + deadline + GRACE_SECONDS
        while True:
            try:
                answer = said.get(timeout=min(HEED_SECONDS, max(0.0, until - time.monotonic())))
            except queue.Empty:
                if heed is not None:
                    heed()
                if time.monotonic() < until:
                    continue
                raise NodeTimeout(node=self.address.name, command=request.COMMAND, seconds=deadline) from None
            if "progress" in answer:
                if progress is not None:
                    progress(answer["progress"])
            elif "result" in answer:
                return self._understood(request, answer["result"])
            elif "lost" in answer:
                raise NodeUnreachable(node=self.address.name, reason=answer["lost"])
            else:
                raise translate(answer["error"], self.address.name, request.COMMAND, deadline)

    def _understood(self, request: Request[T], result: Any) -> T:
        try:
            return from_dict(request.RESULT, result)
        except BadMessage as error:
            text = f"its agent answers otherwise than ours would ({error}): it may be of another version"
            raise CommandFailed(
                node=self.address.name, command=request.COMMAND, agent_code=BAD_ANSWER, text=text
            ) from error

    def upload(
        self, local: Path, remote: str, *, deadline: float, progress: Report | None = None, heed: Heed | None = None
    ) -> None:
        """Put a local file at `remote` on the node."""
        until = time.monotonic() + deadline

        def report(done: Progress) -> None:
            if time.monotonic() > until:
                raise NodeTimeout(node=self.address.name, command="upload", seconds=deadline)
            if progress is not None:
                progress(done)

        self.link().connection.upload(local, remote, report, heed)

    def open_channel(self, port: int) -> Channel:
        """A stream to the node's 127.0.0.1:`port`."""
        return self.link().connection.open_port(port)

    def open_serial(self, uuid: str, *, take: bool = False) -> Channel:
        """A stream to the serial port of a domain; an agent of its own serves it and ends with it."""
        channel = self.link().connection.start_agent(agent_package.AGENT_PATH, SERIAL)
        try:
            _ask_for_serial(channel, self.address.name, {"uuid": uuid, "take": take})
        except BaseException:
            channel.close()
            raise
        return channel

    def close(self) -> None:
        """Let the connection go."""
        with self._connecting:
            if self._link is not None:
                self._link.close()
                self._link = None


def _ask_for_serial(channel: Channel, node: str, request: dict[str, Any]) -> None:
    """Have the agent at the other end give the port; what comes after its answer is the guest's."""
    lines = answers.Lines()
    try:
        channel.settimeout(SERIAL_SECONDS)
        channel.sendall(json.dumps({**request, "request_id": request_id.current()}).encode() + b"\n")
        while (answer := lines.read(_read_line(channel))) is None:
            continue
        answer = answers.checked(answer)
    except TimeoutError as error:
        raise NodeTimeout(node=node, command="serial", seconds=SERIAL_SECONDS) from error
    except (OSError, EOFError, paramiko.SSHException, answers.Malformed) as error:
        raise NodeUnreachable(node=node, reason=str(error) or "the connection was lost") from error
    if "error" in answer:
        raise translate(answer["error"], node, "serial", SERIAL_SECONDS)


def _read_line(channel: Channel) -> bytes:
    """A line, and no byte of what follows it."""
    line = b""
    while not line.endswith(b"\n"):
        sign = channel.recv(1)
        if not sign:
            raise EOFError("its agent ended")
        line += sign
        if len(line) > answers.LONGEST_NOISE:
            raise answers.Malformed("its agent says other things than answers")
    return line[:-1]


def translate(error: dict[str, Any], node: str, command: str, deadline: float) -> NodeError | Cancelled:
    """The panel's error for one that the agent answered."""
    code, text, data = error.get("code", "internal"), error.get("message", ""), dict(error.get("data", {}))
    number, differences = data.get("libvirt_code"), data.get("differences", [])
    if code == "libvirt":
        return LibvirtFailure(
            node=node,
            command=command,
            text=text,
            libvirt_code=number if isinstance(number, int) else None,
            connection_lost=data.get("connection_lost") is True,
        )
    if code == "deadline":
        return NodeTimeout(text, node=node, command=command, seconds=deadline)
    if code == "fenced":
        return Fenced(node=node, task="")
    if code == "drifted":
        return Drifted(node=node, command=command, differences=differences if isinstance(differences, list) else [])
    if code == "cancelled":
        # Nobody here cancelled it, or we would not wait for its answer: the agent was told to end.
        return NodeUnreachable(node=node, reason="its agent was ended")
    return CommandFailed(node=node, command=command, agent_code=code, text=text)


_sessions: dict[tuple[int, NodeAddress], Session] = {}
_sessions_lock = threading.Lock()


def get(address: NodeAddress) -> Session:
    """The session of this process with the node; a forked process never uses its parent's."""
    key = (os.getpid(), address)
    with _sessions_lock:
        if key not in _sessions:
            _sessions[key] = Session(address)
        # Its name may be another one by now.
        _sessions[key].address = address
        return _sessions[key]


def forget(address: NodeAddress) -> None:
    """Close and drop the session with a node that is no more, or is reached differently now."""
    with _sessions_lock:
        session = _sessions.pop((os.getpid(), address), None)
    if session is not None:
        session.close()
