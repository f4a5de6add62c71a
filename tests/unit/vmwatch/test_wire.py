"""Messages: what is believed, and that nothing else is."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from vmwatch import wire

SECRET = "A1B2C3D4E5F6G7H8"
NOW = 1_790_000_000.0
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
MESSAGE = wire.Message(
    node_id=3,
    epoch=1_789_999_000_000_000_000,
    sequence=17,
    time=NOW,
    kind=wire.EVENT,
    domains=[wire.DomainState(UUID, "web1", wire.SHUT_OFF, "stopped")],
)


def signed(body: bytes) -> list[bytes]:
    """Frames with a proof that fits."""
    return [body, wire.sign(body, SECRET).encode()]


def reason(frames: list[bytes], now: float = NOW) -> str:
    """Why the frames are refused; "" when they are not."""
    try:
        wire.decode(frames, SECRET, now)
    except wire.Refused as refused:
        return refused.reason
    return ""


def altered(**fields: object) -> list[bytes]:
    """The message with other fields, properly signed."""
    return signed(json.dumps({**dataclasses.asdict(MESSAGE), **fields}).encode())


def test_what_was_encoded_is_decoded() -> None:
    assert wire.decode(wire.encode(MESSAGE, SECRET), SECRET, NOW) == MESSAGE


def test_another_secret_is_forged() -> None:
    assert reason(wire.encode(MESSAGE, "OTHER")) == "forged"


def test_a_changed_body_is_forged() -> None:
    body, proof = wire.encode(MESSAGE, SECRET)
    assert reason([body.replace(b"shut off", b"running"), proof]) == "forged"


@pytest.mark.parametrize("frames", [[], [b""], [b"", b"", b""], [b"x" * (wire.LARGEST_MESSAGE + 1), b""]])
def test_frames_of_another_shape_are_malformed(frames: list[bytes]) -> None:
    assert reason(frames) == "malformed"


@pytest.mark.parametrize("off", [-wire.CLOCK_WINDOW_SECONDS - 1, wire.CLOCK_WINDOW_SECONDS + 1])
def test_a_message_from_outside_the_clock_window_is_stale(off: float) -> None:
    assert reason(wire.encode(MESSAGE, SECRET), NOW + off) == "stale"


@pytest.mark.parametrize("off", [-wire.CLOCK_WINDOW_SECONDS, 0, wire.CLOCK_WINDOW_SECONDS])
def test_a_message_inside_the_clock_window_is_taken(off: float) -> None:
    assert reason(wire.encode(MESSAGE, SECRET), NOW + off) == ""


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_time_that_is_no_moment_is_stale(number: str) -> None:
    body = json.dumps(dataclasses.asdict(MESSAGE)).replace(str(NOW), number).encode()
    assert reason(signed(body)) == "stale"


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"kind": "hello"},
        {"kind": ["event"]},
        {"node_id": -1},
        {"node_id": True},
        {"node_id": "3"},
        {"epoch": 2**63},
        {"sequence": 1.5},
        {"time": None},
        {"time": 10**400},
        {"domains": None},
        {"domains": {"uuid": UUID}},
        {"domains": [{"uuid": UUID, "name": "web1"}]},
        {"domains": [{"uuid": UUID, "name": "web1", "state": "asleep"}]},
        {"domains": [{"uuid": "web1", "name": "web1", "state": "running"}]},
        {"domains": [{"uuid": UUID + "\n", "name": "web1", "state": "running"}]},
        {"recent": [7]},
        {"recent": [{"epoch": 1, "sequence": 1, "domain": "web1"}]},
        {"statistics": [7]},
        {"statistics": [[]]},
        {"statistics": [{"uuid": UUID, "run": 1, "disks": [7]}]},
        {"statistics": [{"uuid": UUID, "run": 1, "disks": {"name": "vda"}}]},
    ],
)
def test_fields_that_do_not_fit_are_malformed(fields: dict[str, object]) -> None:
    assert reason(altered(**fields)) == "malformed"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'"event"', b"1" * 5000])
def test_bodies_that_are_no_message_are_malformed(body: bytes) -> None:
    assert reason(signed(body)) == "malformed"


def test_fields_of_a_later_minor_change_are_passed_over() -> None:
    frames = altered(colour="blue")
    assert wire.decode(frames, SECRET, NOW) == MESSAGE


def test_no_broken_message_is_taken_and_none_raises_anything_else() -> None:
    """20,000 seeded mutations: bits flipped, cut, doubled, spliced, random, with a fitting proof and without."""
    rng = random.Random(20261121)
    body, proof = wire.encode(MESSAGE, SECRET)
    taken = 0
    for _ in range(20_000):
        mutant = bytearray(body)
        way = rng.randrange(5)
        place = rng.randrange(len(mutant))
        if way == 0:
            mutant[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            del mutant[place:]
        elif way == 2:
            mutant[place:place] = mutant[: rng.randrange(len(mutant))]
        elif way == 3:
            mutant[place : place + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
        else:
            mutant = bytearray(rng.randbytes(rng.randrange(200)))
        if bytes(mutant) == body:
            continue
        assert reason([bytes(mutant), proof]) == "forged"
        try:
            # Who knows the secret may say what they like, but only in words that exist.
            message = wire.decode(signed(bytes(mutant)), SECRET, NOW)
        except wire.Refused:
            continue
        taken += 1
        assert message.kind in wire.KINDS
        assert all(domain.state in wire.SEEN_STATES for domain in message.domains)
    assert taken < 10_000


class TestOrder:
    """Each message once, also one that was overtaken."""

    def accepts(self, order: wire.Order, **fields: int) -> bool:
        try:
            order.accept(dataclasses.replace(MESSAGE, **fields))
        except wire.Refused as refused:
            assert refused.reason == "replayed"
            return False
        return True

    def test_a_message_is_taken_once(self) -> None:
        order = wire.Order()
        assert self.accepts(order)
        assert not self.accepts(order)

    def test_an_overtaken_message_is_taken_once_as_long_as_one_can_tell(self) -> None:
        order = wire.Order()
        assert self.accepts(order, sequence=order.WINDOW + 10)
        assert self.accepts(order, sequence=11)
        assert not self.accepts(order, sequence=11)
        assert not self.accepts(order, sequence=10)

    def test_the_run_before_may_still_have_said_something_and_earlier_ones_not(self) -> None:
        order = wire.Order()
        for epoch in (5, 6, 7):
            assert self.accepts(order, epoch=epoch, sequence=100)
        assert self.accepts(order, epoch=6, sequence=99)
        assert not self.accepts(order, epoch=5, sequence=101)

    def test_an_earlier_run_that_was_never_heard_is_not_believed_afterwards(self) -> None:
        order = wire.Order()
        assert self.accepts(order, epoch=6, sequence=1)
        assert not self.accepts(order, epoch=5, sequence=1)

    def test_nodes_do_not_disturb_each_other(self) -> None:
        order = wire.Order()
        assert self.accepts(order, node_id=1, sequence=9)
        assert self.accepts(order, node_id=2, sequence=1)

    def test_any_order_of_arrival_lets_each_number_through_once(self) -> None:
        rng = random.Random(7)
        order = wire.Order()
        arrivals = [rng.randrange(100) for _ in range(1000)]
        through = [number for number in arrivals if self.accepts(order, sequence=number)]
        assert sorted(through) == sorted(set(arrivals))
