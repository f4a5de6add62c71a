"""Messages: what is believed, and that nothing else is."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from vmwatch import wire
from vmwatch.order import Order

SECRET = "A1B2C3D4E5F6G7H8"
OWN = wire.own_secret(SECRET, 3)
TRUST = wire.Trust(SECRET, nodes=frozenset({3, 4}))
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
    return [body, wire.prove(body, 3, OWN)]


def reason(frames: list[bytes], now: float = NOW, trust: wire.Trust = TRUST) -> str:
    """Why the frames are refused; "" when they are not."""
    try:
        wire.decode(frames, trust, now)
    except wire.Refused as refused:
        return refused.reason
    return ""


def altered(**fields: object) -> list[bytes]:
    """The message with other fields, properly signed."""
    return signed(json.dumps({**dataclasses.asdict(MESSAGE), **fields}).encode())


def test_what_was_encoded_is_decoded() -> None:
    assert wire.decode(wire.encode(MESSAGE, OWN), TRUST, NOW) == MESSAGE


def test_another_secret_is_forged() -> None:
    assert reason(wire.encode(MESSAGE, "OTHER")) == "forged"


def test_a_changed_body_is_forged() -> None:
    body, proof = wire.encode(MESSAGE, OWN)
    assert reason([body.replace(b"shut off", b"running"), proof]) == "forged"


@pytest.mark.parametrize(
    ("node_id", "writer", "secret", "why"),
    [
        (4, 4, wire.own_secret(SECRET, 4), ""),
        (3, 4, wire.own_secret(SECRET, 4), "forged"),
        (4, 3, wire.own_secret(SECRET, 4), "forged"),
        (4, 4, wire.own_secret(SECRET, 3), "forged"),
        (4, 4, SECRET, "forged"),
        (5, 5, wire.own_secret(SECRET, 5), "unknown"),
        (5, 4, wire.own_secret(SECRET, 4), "forged"),
    ],
)
def test_a_node_speaks_for_itself_alone_and_only_while_it_is_one(
    node_id: int, writer: int, secret: str, why: str
) -> None:
    body = wire.to_body(dataclasses.replace(MESSAGE, node_id=node_id))
    assert reason([body, wire.prove(body, writer, secret)]) == why


@pytest.mark.parametrize("number", [b"", b":", b"-3:", b"x:", "٣:".encode(), b"9" * 30 + b":", b"3:3:"])
def test_a_proof_of_nobody_is_forged(number: bytes) -> None:
    body, proof = wire.encode(MESSAGE, OWN)
    assert reason([body, number + proof[2:]]) == "forged"


def test_the_secret_of_all_nodes_is_believed_only_where_it_is_named_and_not_of_a_node_that_is_gone() -> None:
    trust = wire.Trust(SECRET, shared="SHARED", nodes=frozenset({3}))
    for node_id, why in ((3, ""), (4, "unknown")):
        body = wire.to_body(dataclasses.replace(MESSAGE, node_id=node_id))
        for proof in (wire.sign(body, "SHARED").encode(), wire.prove(body, node_id, "SHARED")):
            assert reason([body, proof], trust=trust) == why
            assert reason([body, proof]) == "forged"


@pytest.mark.parametrize("field", ["epoch", "recent"])
def test_a_start_that_is_still_to_come_is_stale(field: str) -> None:
    def of(seconds: float) -> list[bytes]:
        epoch = int((NOW + seconds) * 1e9)
        past = wire.PastEvent(epoch, 1, MESSAGE.domains[0])
        message = dataclasses.replace(MESSAGE, **({"epoch": epoch} if field == "epoch" else {"recent": [past]}))
        return wire.encode(message, OWN)

    assert reason(of(wire.EPOCH_AHEAD_SECONDS - 1)) == ""
    assert reason(of(wire.EPOCH_AHEAD_SECONDS + 1)) == "stale"


@pytest.mark.parametrize("frames", [[], [b""], [b"", b"", b""], [b"x" * (wire.LARGEST_MESSAGE + 1), b""]])
def test_frames_of_another_shape_are_malformed(frames: list[bytes]) -> None:
    assert reason(frames) == "malformed"


@pytest.mark.parametrize("off", [-wire.CLOCK_WINDOW_SECONDS - 1, wire.CLOCK_WINDOW_SECONDS + 1])
def test_a_message_from_outside_the_clock_window_is_stale(off: float) -> None:
    assert reason(wire.encode(MESSAGE, OWN), NOW + off) == "stale"


@pytest.mark.parametrize("off", [-wire.CLOCK_WINDOW_SECONDS, 0, wire.CLOCK_WINDOW_SECONDS])
def test_a_message_inside_the_clock_window_is_taken(off: float) -> None:
    assert reason(wire.encode(MESSAGE, OWN), NOW + off) == ""


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
        {"age": -1},
        {"clock": "noon"},
        {"final": 1},
        {"domains": [{"uuid": UUID, "name": "web1", "state": "running", "job": 7}]},
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
    assert wire.decode(frames, TRUST, NOW) == MESSAGE


def test_no_broken_message_is_taken_and_none_raises_anything_else() -> None:
    """20,000 seeded mutations: bits flipped, cut, doubled, spliced, random, with a fitting proof and without."""
    rng = random.Random(20261121)
    body, proof = wire.encode(MESSAGE, OWN)
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
            message = wire.decode(signed(bytes(mutant)), TRUST, NOW)
        except wire.Refused:
            continue
        taken += 1
        assert message.kind in wire.KINDS
        assert all(domain.state in wire.SEEN_STATES for domain in message.domains)
    assert taken < 10_000


class TestOrder:
    """Each message once, also one that was overtaken."""

    def accepts(self, order: Order, **fields: int) -> bool:
        try:
            order.accept(dataclasses.replace(MESSAGE, **fields))
        except wire.Refused as refused:
            assert refused.reason == "replayed"
            return False
        return True

    def test_a_message_is_taken_once(self) -> None:
        order = Order()
        assert self.accepts(order)
        assert not self.accepts(order)

    def test_an_overtaken_message_is_taken_once_as_long_as_one_can_tell(self) -> None:
        order = Order()
        assert self.accepts(order, sequence=order.WINDOW + 10)
        assert self.accepts(order, sequence=11)
        assert not self.accepts(order, sequence=11)
        assert not self.accepts(order, sequence=10)

    def test_the_run_before_may_still_have_said_something_and_earlier_ones_not(self) -> None:
        order = Order()
        for epoch in (5, 6, 7):
            assert self.accepts(order, epoch=epoch, sequence=100)
        assert self.accepts(order, epoch=6, sequence=99)
        assert not self.accepts(order, epoch=5, sequence=101)

    def test_an_earlier_run_that_was_never_heard_is_not_believed_afterwards(self) -> None:
        order = Order()
        assert self.accepts(order, epoch=6, sequence=1)
        assert not self.accepts(order, epoch=5, sequence=1)

    def test_nodes_do_not_disturb_each_other(self) -> None:
        order = Order()
        assert self.accepts(order, node_id=1, sequence=9)
        assert self.accepts(order, node_id=2, sequence=1)

    def test_any_order_of_arrival_lets_each_number_through_once(self) -> None:
        rng = random.Random(7)
        order = Order()
        arrivals = [rng.randrange(100) for _ in range(1000)]
        through = [number for number in arrivals if self.accepts(order, sequence=number)]
        assert sorted(through) == sorted(set(arrivals))
