"""vmwatch-node's memory, where the domains are in a libvirtd of their own, as on a node.

That libvirtd is an unprivileged one, and its driver libvirt's test driver.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.own_libvirtd import PROGRAM, own_libvirtd
from tests.contract.vmwatch_daemons import HOST, SYSTEM_PYTHON, Daemons, memory_kib, tell, wait_until
from vmwatch import journal, wire

LIMIT_KIB = 40 * 1024
DOMAINS = 20
EVENTS = 10_000

pytestmark = pytest.mark.skipif(not Path(PROGRAM).exists(), reason="needs libvirtd")


@pytest.fixture
def uri() -> Iterator[str]:
    """Where a libvirtd answers."""
    with own_libvirtd() as libvirtd:
        yield libvirtd.uri


def test_ten_thousand_events_within_a_minute_leave_the_node_under_forty_megabytes(daemons: Daemons, uri: str) -> None:
    daemons.configure(node={"resync": "1"})
    daemons.master()
    node = daemons.node_alone(uri)
    wait_until(lambda: daemons.panel.messages, "the first full report")
    package = {"PYTHONPATH": str(daemons.package), "VMPANEL_LIBVIRT_URI": uri}
    hand = daemons.run(SYSTEM_PYTHON, str(HOST), "--hand", **package)
    for number in range(DOMAINS):
        tell(hand, f"define web{number} {uuid.UUID(int=number + 1)}", f"create web{number}")
    for _ in range(5):
        tell(hand, *(f"storm web{number} {EVENTS // DOMAINS // 5}" for number in range(DOMAINS)))
    all_told = 2 * DOMAINS + EVENTS
    events: set[int] = set()
    again: dict[int, int] = {}
    read = 0

    def heard() -> bool:
        """Whether every event was told by itself, and twice with full reports."""
        nonlocal read
        messages = daemons.panel.messages[read:]
        read += len(messages)
        for message in messages:
            if message["kind"] == wire.EVENT:
                events.add(message["sequence"])
            for past in message.get("recent", ()):
                again[past["sequence"]] = again.get(past["sequence"], 0) + 1
        return len(events) == all_told and sum(times >= 2 for times in again.values()) >= journal.KEPT

    wait_until(heard, "every event was told, and again", 60)
    # The most that it ever took.
    print("HWM", memory_kib(node, "VmHWM"))
    assert memory_kib(node, "VmHWM") < LIMIT_KIB
