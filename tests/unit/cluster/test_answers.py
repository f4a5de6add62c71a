"""Whatever a node says, the panel's reader ends in order, whoever waits is told, and memory stays bounded."""

from __future__ import annotations

import json
import math
import queue
import threading
import tracemalloc
from collections.abc import Iterable
from typing import Any, cast

import paramiko
import pytest

from nodeagent.protocol import LONGEST_ANSWER, PROTOCOL_VERSION
from panel.cluster import answers, session, ssh
from panel.cluster.client import NodeAddress
from panel.core.errors import CommandFailed, Drifted, LibvirtFailure, NodeUnreachable, VersionMismatch

HELLO = json.dumps({"hello": {"protocol": PROTOCOL_VERSION}}).encode() + b"\n"
BLOCK = 65536


class Peer:
    """A node that says what the test wants: the connection and the channel of a link to it."""

    def __init__(self, *blocks: bytes) -> None:
        self.address = NodeAddress("evil", "192.0.2.1")
        self.alive = True
        self.blocks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.say(*blocks)

    def say(self, *blocks: bytes) -> None:
        """Have these arrive next."""
        for block in blocks:
            self.blocks.put(block)

    def flood(self, blocks: Iterable[bytes]) -> None:
        """Say this until the link is closed."""
        for block in blocks:
            if not self.alive:
                break
            self.say(block)

    def recv(self, _size: int) -> bytes:
        """What arrives."""
        return self.blocks.get(timeout=20)

    def sendall(self, _data: bytes) -> None:
        """Hear nothing."""

    def settimeout(self, _seconds: float) -> None:
        """Never be late."""

    def recv_stderr_ready(self) -> bool:
        """Say nothing there."""
        return False

    def close(self) -> None:
        """Be gone."""
        self.alive = False


def link(peer: Peer) -> session.Link:
    """A link to it."""
    return session.Link(cast(ssh.Connection, peer), cast(paramiko.Channel, peer))


def reader() -> threading.Thread | None:
    """The thread of a link that is open."""
    return next((each for each in threading.enumerate() if each.name == "node-evil"), None)


def test_an_honest_answer_arrives_also_in_pieces_and_beside_what_others_print() -> None:
    peer = Peer(b"Welcome!\n" + HELLO)
    number, said = (made := link(peer)).begin({"command": "x"})
    answer = json.dumps({"id": number, "result": {"text": "ü" * 10}}).encode() + b"\n"
    peer.say(b"Battery low\n", b'{"pong": 1}\n', answer[:9], answer[9:])
    assert said.get(timeout=5)["result"] == {"text": "ü" * 10}
    made.close()
    peer.say(b"")


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "result": ' + b"[" * 100_000,
        b'{"id": 1, "result": ' + b'{"a":' * 100_000,
        b'{"id": 1, "result": [' + b"[]," * answers.MOST_PARTS + b"[]]}",
        b'{"id": 1, "result": {"a": NaN}}',
        b'{"id": 1, "result": ' + b"1" * 5000 + b"}",
        b'{"id": 1, "result": "\xff"}',
        b'{"id": 1, "result"',
        b'{"id": 1}',
        b'{"id": 1, "result": {}, "error": {}}',
        b'{"id": [1], "result": {}}',
        b'{"id": true, "result": {}}',
        b'{"id": 1.5, "result": {}}',
        b'{"id": 1, "error": "x"}',
        b'{"id": 1, "error": {"code": 7}}',
        b'{"id": 1, "error": {"data": []}}',
        b'{"id": 1, "progress": 7}',
        b'{"id": 1, "progress": {"done": 1}}',
        b'{"id": 1, "progress": {"done": 1e999, "total": 1}}',
        b'{"id": 1, "progress": {"done": 1, "total": 1, "text": 5}}',
        b"x" * (answers.LONGEST_NOISE + 1),
        b"[" * 100_000,
        b"noise\n" * (answers.MOST_NOISE + 1),
    ],
    ids=lambda line: line[:30],
)
def test_what_is_no_answer_closes_the_link_and_tells_whoever_waits(line: bytes) -> None:
    peer = Peer(HELLO)
    _, said = link(peer).begin({"command": "x"})
    thread = reader()
    peer.say(line + b"\n")
    assert "what is no answer" in said.get(timeout=20)["lost"]
    assert not peer.alive
    if thread is not None:
        thread.join(5)
        assert not thread.is_alive()


def test_a_line_without_end_is_given_up_and_takes_bounded_memory() -> None:
    tracemalloc.start()
    peer = Peer(HELLO)
    _, said = link(peer).begin({"command": "x"})
    block = b'{"' + b"x" * BLOCK
    for _ in range(4 * LONGEST_ANSWER // BLOCK):
        peer.say(block)
    assert "MiB" in said.get(timeout=20)["lost"]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * LONGEST_ANSWER


def test_progress_that_nobody_reads_and_answers_that_nobody_asked_for_are_not_kept() -> None:
    peer = Peer(HELLO)
    number, said = (made := link(peer)).begin({"command": "x"})
    progress = json.dumps({"id": number, "progress": {"done": 1, "total": 2}}).encode() + b"\n"
    other = json.dumps({"id": 99, "result": {}}).encode() + b"\n"
    result = json.dumps({"id": number, "result": {}}).encode() + b"\n"
    peer.say(progress * (3 * session.MOST_PROGRESS), other * 1000, result * 1000, b"")
    while "result" not in (answer := said.get(timeout=5)):
        assert answer["progress"].done == 1
    assert said.qsize() == 0 and made.waiting == {}


@pytest.mark.parametrize(
    "hello",
    [b'{"hello": ' + b"[" * 100_000 + b"\n", b"noise\n" * 2000, b"x" * (LONGEST_ANSWER + 1), b'{"hello": 7}\n', b""],
)
def test_a_greeting_that_is_none_is_said(hello: bytes) -> None:
    with pytest.raises(NodeUnreachable):
        link(Peer(hello, b""))


@pytest.mark.parametrize("data", [[], "x", {"agent": [1] * 1000}, {"agent": "9" * 1000}])
def test_a_version_that_is_none_is_one_that_does_not_fit(data: Any) -> None:
    with pytest.raises(VersionMismatch) as raised:
        link(Peer(json.dumps({"error": {"data": data}}).encode() + b"\n"))
    assert len(str(raised.value)) < 500


def test_half_characters_become_whole_ones() -> None:
    line = rb'{"id": 1, "result": ["a\udcffb", "\u00fc", "\ud83d\ude00"]}'
    assert answers.parse(line)["result"] == ["a?b", "ü", "😀"]


def test_an_error_s_data_are_taken_only_as_what_they_must_be() -> None:
    def translated(code: str, data: dict[str, Any]) -> Any:
        error = answers.checked({"id": 1, "error": {"code": code, "message": "x" * 10**6, "data": data}})["error"]
        return session.translate(error, "n1", "host_start", 30.0)

    failure = translated("libvirt", {"libvirt_code": [1], "connection_lost": "yes"})
    assert isinstance(failure, LibvirtFailure) and failure.data["libvirt_code"] is None
    assert isinstance(translated("drifted", {"differences": 7}), Drifted)
    other = translated("x" * 10**6, {})
    assert isinstance(other, CommandFailed) and len(other.message) < 2 * answers.LONGEST_TEXT
    assert math.isfinite(answers.checked({"progress": {"done": 1, "total": 2}})["progress"].total)
