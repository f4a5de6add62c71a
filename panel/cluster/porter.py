"""The panel's end of the porter (nodeagent/porter.py): looking at a host and bringing files before an agent is there.

Every command that ssh starts on a host goes through its user's login shell with its start files, and through sshrc.
What they do is not ours to trust: they may print, be slow, end, or be another shell altogether. So there is one command
for everything, of plain words that every shell takes alike; nothing is sent before its marker line has come, and what
came before that line is none of ours.
"""

from __future__ import annotations

import collections
import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import paramiko

import panel
from panel.cluster import answers
from panel.cluster.client import NodeAddress, Progress, Report
from panel.core.errors import NodeRefused, NodeUnreachable
from panel.core.wording import Text

COMMAND = (
    "/usr/bin/env -u LD_PRELOAD -u LD_LIBRARY_PATH PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    'LC_ALL=C.UTF-8 /usr/bin/python3 -I -c \'import sys; print(); print("vmpanel-porter", *sys.version_info[:2], '
    'flush=True); exec(eval(open(0, "rb", 0, closefd=False).readline()))\''
)
SUDO = "/usr/bin/sudo -n "
"""What stands before it where the one who signs in is not root."""
MARKER = re.compile(rb"\nvmpanel-porter (\d+) (\d+)\r?\n")
SOURCE = Path(panel.__file__).resolve().parent.parent / "nodeagent" / "porter.py"
OLDEST_PYTHON = (3, 9)
START_SECONDS = 30.0
"""How long a login shell with its start files may take until it starts the command."""
MOST_BEFORE = 1024 * 1024
"""How many bytes they may print until then."""
MOST_WORDS = 200
ANSWER_SECONDS = 60.0
"""How long a host may take to answer one request."""
BLOCK = 256 * 1024
NO_STATUS = -1
"""paramiko's exit status where none came."""
NOT_AVAILABLE = "account is currently not available"
"""What nologin says."""


class Porter:
    """A porter that runs on a host; `said` is what start files printed before it, `seconds` how long they took."""

    def __init__(
        self, address: NodeAddress, channel: paramiko.Channel, translated: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self.node = address.name
        self.channel = channel
        self._user = address.user
        self._translated = translated
        self._lines = answers.Lines()
        self._came: collections.deque[bytes] = collections.deque()
        began = time.monotonic()
        self.python, self.said = self._await_marker(began + START_SECONDS)
        self.seconds = time.monotonic() - began
        if self.python < OLDEST_PYTHON:
            raise self._unusable(
                "its /usr/bin/python3 is {}.{}, and nodes need Python 3.9 or newer".format(*self.python)
            )
        with self._translated("start"):
            channel.sendall(program())

    def look(self) -> dict[str, Any]:
        """What the host is: os_release, mark (None: it has none of a panel's), user (0: root)."""
        return dict(self._ask("look"))

    def run(self, program: str, command: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What one of the COMMANDS of another program of ours answers there."""
        return dict(self._ask("run", seconds, program=program, command=command, request=request))

    def hashes(self, *paths: str) -> dict[str, str | None]:
        """The SHA-256 of each file, None where there is none."""
        return dict(self._ask("hashes", paths=paths))

    def put(self, content: bytes, path: str, mode: int) -> None:
        """Have a small file with this content, put in place as a whole."""
        self._send({"do": "put", "path": path, "mode": mode, "size": len(content)})
        with self._translated("put"):
            self.channel.sendall(content)
        self._answer()

    def upload(self, local: Path, path: str, report: Report | None = None) -> None:
        """Have a large file's content at `path`, where there must be a file."""
        total, done = local.stat().st_size, 0
        self._send({"do": "upload", "path": path, "size": total})
        with open(local, "rb") as source:
            # An answer before the end is an error: the rest is not sent.
            while (block := source.read(BLOCK)) and not self.channel.recv_ready():
                with self._translated("upload"):
                    self.channel.sendall(block)
                done += len(block)
                if report is not None:
                    report(Progress(done, total, f"{done >> 20} of {total >> 20} MiB sent"))
        self._answer()

    def authorize_key(self, public_key: str) -> None:
        """The key's holder may sign in as this user; a second time changes nothing."""
        self._ask("authorize", key=public_key)

    def deauthorize_key(self, public_key: str) -> None:
        """The key's holder may not sign in any more."""
        self._ask("deauthorize", key=public_key)

    def become_agent(self, path: str, *arguments: str) -> paramiko.Channel:
        """Have the porter go on as the agent at `path`, free of what start files left; answers its streams."""
        self._send({"do": "become_agent", "path": path, "arguments": arguments})
        return self.channel

    def close(self) -> None:
        """End the porter."""
        self.channel.close()

    def _ask(self, do: str, seconds: float = ANSWER_SECONDS, /, **values: Any) -> Any:
        self._send({"do": do, **values})
        self.channel.settimeout(seconds)
        return self._answer()

    def _send(self, request: dict[str, Any]) -> None:
        with self._translated(str(request["do"])):
            self.channel.settimeout(ANSWER_SECONDS)
            self.channel.sendall(json.dumps(request).encode() + b"\n")

    def _answer(self) -> Any:
        while True:
            try:
                answer = self._lines.read(self._read_line())
            except answers.Malformed as error:
                reason = f"the panel's program there said what is no answer: {error}"
                raise NodeUnreachable(node=self.node, reason=reason) from error
            if answer is None:
                # Something that a start file left running prints beside us.
                continue
            if "result" in answer:
                return answer["result"]
            if "error" in answer:
                path = f"{answer['path']}: " if answer.get("path") else ""
                reason = f"{path}{answer['error']}"
                raise NodeRefused(
                    Text("The node “{node}” refused: {reason}.", {"node": self.node, "reason": reason}),
                    node=self.node,
                    reason=reason,
                )

    def _read_line(self) -> bytes:
        with self._translated("answer"):
            while not self._came:
                block = self.channel.recv(262144)
                if not block:
                    raise EOFError("the panel's program was ended there before it could answer")
                self._came.extend(self._lines.feed(block))
        return self._came.popleft()

    def _await_marker(self, until: float) -> tuple[tuple[int, int], str]:
        """The host's Python, and what was printed before it ran."""
        # A marker of the very first bytes stands at a line's beginning too.
        came = b"\n"
        while not (found := MARKER.search(came)):
            if len(came) > MOST_BEFORE:
                raise self._unusable(f"the start files of {self._user}'s login shell print without end{_saying(came)}")
            block = self._receive_before(until, came)
            if not block:
                raise self._not_started(came)
            came += block
        self._came.extend(self._lines.feed(came[found.end() :]))
        return (int(found[1]), int(found[2])), _words(came[: found.start()])

    def _receive_before(self, until: float, came: bytes) -> bytes:
        self.channel.settimeout(max(0.01, until - time.monotonic()))
        try:
            return self.channel.recv(65536)
        except TimeoutError as error:
            reason = (
                f"{self._user}'s login shell with its start files (.bashrc, sshrc) started no program "
                f"within {START_SECONDS:g} s{_saying(came)}"
            )
            raise NodeUnreachable(node=self.node, reason=reason) from error

    def _not_started(self, came: bytes) -> NodeRefused | NodeUnreachable:
        """The error for a shell that ended without starting the command."""
        self.channel.status_event.wait(5)
        code = self.channel.exit_status
        if code == NO_STATUS:
            # It was killed, or the connection ended before it did: that says nothing of the shell.
            return NodeUnreachable(node=self.node, reason="its shell was ended before it could start a program")
        errors = self.channel.recv_stderr(8000) if self.channel.recv_stderr_ready() else b""
        saying = _saying(came) or _saying(errors)
        if NOT_AVAILABLE in saying:
            return self._unusable(
                f"{self._user}'s login shell lets nobody in{saying}; give it one such as /bin/bash (usermod --shell)"
            )
        if b"sudo" in errors:
            return self._unusable(
                f"{self._user} is not root, and sudo starts nothing for them without a password{saying}; allow it "
                "(“NOPASSWD: ALL” in sudoers), or give root's password or key"
            )
        if b"/usr/bin/python3" in errors:
            return self._unusable(f"it has no /usr/bin/python3, and nodes need Python 3.9 or newer{saying}")
        return self._unusable(
            f"{self._user}'s login shell or its start files (.bashrc, sshrc) ended with exit code {code} before the "
            f"panel's command began{saying}; start files must not exit, and the shell must be one such as /bin/bash"
        )

    def _unusable(self, reason: str) -> NodeRefused:
        text = Text(
            "The node “{node}” lets us in, but the panel's programs cannot be started there: {reason}.",
            {"node": self.node, "reason": reason},
        )
        return NodeRefused(text, node=self.node, reason=reason)


@lru_cache
def program() -> bytes:
    """The porter's source as the one line that COMMAND reads."""
    return ascii(SOURCE.read_text(encoding="utf-8")).encode() + b"\n"


def _words(output: bytes) -> str:
    """The last line that was printed, as far as a person wants to read it."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    shown = "".join(sign for sign in lines[-1] if sign.isprintable()) if lines else ""
    return shown if len(shown) <= MOST_WORDS else f"{shown[:MOST_WORDS]}…"


def _saying(output: bytes) -> str:
    words = _words(output)
    return f", having said “{words}”" if words else ""
