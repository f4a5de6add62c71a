"""What vmwatch-node keeps while the master is away. ZeroMQ over Unix sockets: no network."""

from __future__ import annotations

import time
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
    return NodeConfig(f"ipc://{tmp_path}/master", SECRET, 4)


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
        # What the outbox has handed over may still be on its way when the machine is busy.
        if master.poll(20) or (not len(outbox) and messages == [] and not outbox.away and master.poll(500)):
            messages.append(wire.decode(master.recv_multipart(), wire.Trust("", shared=SECRET)))
        elif not len(outbox) and not outbox.away:
            return messages
    raise AssertionError("the outbox was never empty")


def test_events_wait_for_the_master_and_keep_their_order(outbox: Outbox, master: Any, config: NodeConfig) -> None:
    assert [outbox.put_event(DOMAIN) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert outbox.away
    master.bind(config.connect)
    messages = take(outbox, master)
    assert [(each.sequence, each.kind, each.node_id, each.epoch) for each in messages] == [
        (number, wire.EVENT, 4, 100) for number in range(1, 6)
    ]


def test_an_event_says_how_long_ago_it_was(outbox: Outbox, master: Any, config: NodeConfig) -> None:
    before = time.monotonic()
    outbox.put_event(DOMAIN)
    while time.monotonic() - before < 0.2:
        outbox.flush()
    master.bind(config.connect)
    [message] = take(outbox, master)
    assert 0.2 <= message.domains[0].age <= time.monotonic() - before


@pytest.mark.parametrize("kind", [wire.FULL_REPORT, wire.ALIVE, wire.STATISTICS])
def test_what_is_true_only_now_does_not_wait(outbox: Outbox, master: Any, config: NodeConfig, kind: str) -> None:
    assert not outbox.put(kind)
    outbox.put_event(DOMAIN)
    master.bind(config.connect)
    assert [each.kind for each in take(outbox, master)] == [wire.EVENT]
    assert outbox.put(kind)
    assert [each.kind for each in take(outbox, master)] == [kind]


def test_more_events_than_fit_drop_the_oldest_and_count_them(
    outbox: Outbox, master: Any, config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "WAITING", 3)
    for _ in range(5):
        outbox.put_event(DOMAIN)
    assert (len(outbox), outbox.dropped) == (3, 2)
    master.bind(config.connect)
    assert [each.sequence for each in take(outbox, master)] == [3, 4, 5]


def test_a_master_that_comes_or_comes_back_is_noticed_once(outbox: Outbox, config: NodeConfig) -> None:
    assert not outbox.came_back()
    for _ in range(2):
        with zmq.Context.instance().socket(zmq.PULL) as master:
            master.bind(config.connect)
            take(outbox, master)
            assert outbox.came_back()
            assert not outbox.came_back()
        until = time.monotonic() + 10
        while not outbox.away and time.monotonic() < until:
            outbox.flush()
        assert outbox.away


def test_what_waits_goes_the_new_way_with_the_new_secret(outbox: Outbox, tmp_path: Path) -> None:
    outbox.put_event(DOMAIN)
    elsewhere = NodeConfig(f"ipc://{tmp_path}/elsewhere", "N3W", 5)
    socket = zmq.Context.instance().socket(zmq.PULL)
    socket.bind(elsewhere.connect)
    try:
        outbox.connect(elsewhere)
        for _ in range(500):
            outbox.flush()
            if socket.poll(20):
                break
        message = wire.decode(socket.recv_multipart(zmq.DONTWAIT), wire.Trust("", shared="N3W"))
        assert (message.node_id, message.sequence) == (5, 1)
    finally:
        socket.close(0)


def test_with_the_masters_key_nothing_travels_in_the_open(config: NodeConfig, master: Any) -> None:
    public, secret = zmq.curve_keypair()
    master.setsockopt(zmq.CURVE_SERVER, 1)
    master.setsockopt(zmq.CURVE_SECRETKEY, secret)
    master.bind(config.connect)
    hidden = Outbox(NodeConfig(config.connect, SECRET, 4, server_key=public.decode()), epoch=1)
    try:
        hidden.put_event(DOMAIN)
        assert [each.kind for each in take(hidden, master)] == [wire.EVENT]
    finally:
        hidden.close()


def test_a_master_of_another_key_gets_nothing(config: NodeConfig, master: Any) -> None:
    other, _ = zmq.curve_keypair()
    _, secret = zmq.curve_keypair()
    master.setsockopt(zmq.CURVE_SERVER, 1)
    master.setsockopt(zmq.CURVE_SECRETKEY, secret)
    master.bind(config.connect)
    wrong = Outbox(NodeConfig(config.connect, SECRET, 4, server_key=other.decode()), epoch=1)
    try:
        wrong.put_event(DOMAIN)
        assert not master.poll(500)
        wrong.flush()
        assert wrong.away and len(wrong) == 1
    finally:
        wrong.close()


@pytest.mark.parametrize("encrypted_first", [False, True])
def test_a_master_that_spoke_otherwise_first_is_spoken_to_when_it_speaks_alike(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch, encrypted_first: bool
) -> None:
    monkeypatch.setattr(outbox_module, "ANEW_SECONDS", 0.3)
    public, secret = zmq.curve_keypair()
    key = "" if encrypted_first else public.decode()
    outbox = Outbox(NodeConfig(config.connect, SECRET, 4, server_key=key), epoch=1)
    try:
        outbox.put_event(DOMAIN)
        for encrypted in (encrypted_first, not encrypted_first):
            with zmq.Context.instance().socket(zmq.PULL) as master:
                if encrypted:
                    master.setsockopt(zmq.CURVE_SERVER, 1)
                    master.setsockopt(zmq.CURVE_SECRETKEY, secret)
                master.bind(config.connect)
                if encrypted == encrypted_first:
                    # The two have met, and did not understand each other.
                    assert not master.poll(700)
                    outbox.flush()
                    assert outbox.away
                else:
                    assert [each.kind for each in take(outbox, master)] == [wire.EVENT]
    finally:
        outbox.close()
