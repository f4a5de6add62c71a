"""What vmwatch-node keeps while the master is away. ZeroMQ over Unix sockets: no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from vmwatch import outbox as outbox_module
from vmwatch import wire
from vmwatch.config import NodeConfig
from vmwatch.outbox import Outbox

SECRET = "S3CRET"
DOMAIN = wire.DomainState("6695eb01-f6a4-8304-79aa-97f2502e193f", "web1", wire.RUNNING)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """A node's configuration, to a master that is not there yet."""
    return NodeConfig(f"ipc://{tmp_path}/master", SECRET, 4, 15.0)


@pytest.fixture
def outbox(config: NodeConfig) -> Iterator[Outbox]:
    """An outbox on its way to that master."""
    made = Outbox(config, epoch=100)
    yield made
    made.close()


@pytest.fixture
def master(config: NodeConfig) -> Iterator[Any]:
    """A socket that stands where the master is; bind it when it is to be there."""
    socket = zmq.Context.instance().socket(zmq.PULL)
    yield socket
    socket.close(0)


def take(outbox: Outbox, master: Any) -> list[wire.Message]:
    """All that the outbox has, as the master gets it."""
    messages = []
    for _ in range(500):
        outbox.flush()
        if master.poll(20):
            messages.append(wire.decode(master.recv_multipart(), SECRET))
        elif not len(outbox) and messages:
            return messages
    raise AssertionError("the outbox was never empty")


def test_events_wait_for_the_master_and_keep_their_order(outbox: Outbox, master: Any, config: NodeConfig) -> None:
    for _ in range(5):
        outbox.put(wire.EVENT, [DOMAIN])
    assert outbox.away
    master.bind(config.connect)
    messages = take(outbox, master)
    assert [each.sequence for each in messages] == [1, 2, 3, 4, 5]
    assert {(each.node_id, each.epoch) for each in messages} == {(4, 100)}


def test_of_waiting_pictures_only_the_newest_is_sent(outbox: Outbox, master: Any, config: NodeConfig) -> None:
    for kind in (wire.PICTURE, wire.EVENT, wire.PICTURE, wire.EVENT, wire.PICTURE):
        outbox.put(kind, [DOMAIN])
    master.bind(config.connect)
    assert [each.sequence for each in take(outbox, master)] == [2, 4, 5]


def test_a_full_outbox_drops_the_oldest_and_counts_it(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "WAITING", 3)
    for _ in range(5):
        outbox.put(wire.EVENT, [DOMAIN])
    assert (len(outbox), outbox.dropped) == (3, 2)


def test_the_return_of_the_master_is_told_once(outbox: Outbox, master: Any, config: NodeConfig) -> None:
    outbox.put(wire.EVENT, [DOMAIN])
    assert not outbox.came_back()
    master.bind(config.connect)
    take(outbox, master)
    assert outbox.came_back()
    assert not outbox.came_back()


def test_what_waits_goes_the_new_way_with_the_new_secret(outbox: Outbox, master: Any, tmp_path: Path) -> None:
    outbox.put(wire.EVENT, [DOMAIN])
    elsewhere = NodeConfig(f"ipc://{tmp_path}/other", "NEW", 4, 15.0)
    master.bind(elsewhere.connect)
    outbox.connect(elsewhere)
    outbox.flush()
    while not master.poll(20):
        outbox.flush()
    assert wire.decode(master.recv_multipart(), "NEW").sequence == 1
