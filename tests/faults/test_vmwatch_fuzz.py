"""Messages that must not be believed, at the socket of the real vmwatch-master, beside an honest node.

VMPANEL_LIES says how many (100,000; a million at night), VMPANEL_FUZZ_SEED repeats them.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zmq

from tests.contract.vmwatch_daemons import SECRET, TOP, WEB1, Daemons, memory_kib, said
from tests.faults.vmwatch_flood import SOCKETS
from tests.stack import wait_until
from vmwatch import wire

MESSAGES = int(os.environ.get("VMPANEL_LIES", "100000"))
PROGRAMS = 2
NODE = 9
EPOCH = 1_789_999_000_000_000_000
HONEST_SECONDS = 0.05
TOO_LARGE = 50
RAW_CONNECTIONS = 200
GROWTH_KIB = 10 * 1024


class Honest(threading.Thread):
    """A node that says something every 50 ms, over a socket of its own."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.sent = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Speak until told to end."""
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.connect(self.endpoint)
            while not self.over.wait(HONEST_SECONDS):
                self.sent += 1
                domain = wire.DomainState(WEB1, "web1", wire.RUNNING, "told")
                message = wire.Message(NODE, EPOCH, self.sent, time.time(), wire.EVENT, [domain])
                push.send_multipart(said(message))
            push.setsockopt(zmq.LINGER, 10_000)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """The master's files and its panel; nothing runs yet."""
    made = Daemons(tmp_path)
    try:
        yield made
    finally:
        made.close()


def flood(daemons: Daemons, seed: int) -> collections.Counter[str]:
    """Let all liars loose at once; answers what they sent, by the reason for which it must be refused.

    All of it has been judged then.
    """
    share = MESSAGES // PROGRAMS
    argv = [sys.executable, "-m", "tests.faults.vmwatch_flood", daemons.endpoint, SECRET, str(NODE), str(EPOCH)]
    last = range(1000, 1000 + PROGRAMS * SOCKETS)
    programs = [
        subprocess.Popen(
            [*argv, str(seed + number), str(share), str(last[number * SOCKETS])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TOP,
        )
        for number in range(PROGRAMS)
    ]
    try:
        shout(daemons.endpoint, random.Random(seed))
        sent: collections.Counter[str] = collections.Counter()
        for program in programs:
            assert program.stdout is not None
            sent.update(json.loads(program.stdout.readline()))
        wait_until(lambda: set(last) <= {each["node_id"] for each in daemons.panel.messages}, "all was judged", 120)
        return sent
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def shout(endpoint: str, rng: random.Random) -> None:
    """Messages that are too large, and connections that do not even speak ZeroMQ."""
    with zmq.Context() as context:
        for _ in range(TOO_LARGE):
            with context.socket(zmq.PUSH) as push:
                push.connect(endpoint)
                push.send_multipart([bytes(wire.LARGEST_MESSAGE + rng.randrange(1, 9)), b"0" * 64])
                push.setsockopt(zmq.LINGER, 50)
    address = urlsplit(endpoint)
    for _ in range(RAW_CONNECTIONS):
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
            greeting = b"\xff\0\0\0\0\0\0\0\1\x7f" if rng.random() < 0.5 else b""
            connection.sendall(greeting + rng.randbytes(rng.randrange(1, 5000)))


def refused(log: str) -> collections.Counter[str]:
    """What the master's log says that it dropped."""
    found: collections.Counter[str] = collections.Counter()
    for line in re.findall(r"dropped: (.*)", log):
        for count, reason in re.findall(r"(\d+) ([a-z ]+)", line):
            found[reason] += int(count)
    return found


def test_lies_change_nothing_and_stop_nobody(daemons: Daemons) -> None:
    seed = int(os.environ.get("VMPANEL_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    print(f"VMPANEL_FUZZ_SEED={seed}")

    def heard() -> list[dict[str, Any]]:
        return [each for each in daemons.panel.messages if each["node_id"] == NODE]

    master = daemons.master("--spool", str(daemons.folder / "waiting"))
    honest = Honest(daemons.endpoint)
    honest.start()
    try:
        wait_until(lambda: len(heard()) >= 20, "the honest node is heard")
        before = memory_kib(master)
        begun = time.monotonic()
        sent = flood(daemons, seed)
        took = time.monotonic() - begun
        after = memory_kib(master)
        of_flood = len(heard())
        wait_until(lambda: len(heard()) >= of_flood + 5, "the honest node is heard after the flood")
    finally:
        honest.over.set()
        honest.join()
    wait_until(lambda: len(heard()) >= honest.sent, "all that is honest has arrived")
    master.terminate()
    assert master.wait(10) == 0
    count = sum(sent.values())
    print(f"{count} messages in {took:.1f} s ({count / took:.0f}/s), {of_flood} honest, RSS {before} to {after} KiB")
    assert [each["sequence"] for each in heard()] == list(range(1, honest.sent + 1))
    assert {each["epoch"] for each in heard()} == {EPOCH}
    assert {domain["state"] for each in heard() for domain in each["domains"]} == {wire.RUNNING}
    # Beside the honest node nobody was believed but the last word of each socket.
    assert len(daemons.panel.messages) == honest.sent + PROGRAMS * SOCKETS
    assert after - before < GROWTH_KIB
    # Each was refused, and for its own reason; some of the noise passed for messages of ZeroMQ's first version.
    # And the log did not grow with them.
    assert count >= MESSAGES
    dropped = refused(daemons.log("master"))
    assert sent - dropped == collections.Counter()
    assert set(dropped - sent) <= {"malformed", "forged", "unknown"}
    assert len(daemons.log("master").splitlines()) < 20
