"""A program: sends messages that vmwatch-master must not believe, as fast as it takes them.

    python -m tests.faults.vmwatch_flood ENDPOINT SECRET NODE EPOCH SEED COUNT LAST

Prints how many it sent, by the reason for which each must be refused, as JSON. The same seed sends the same.
Each of its SOCKETS ends with one message that is believed, "alive" of the nodes LAST, LAST + 1, …: when that has
arrived, all before it was judged. Then it waits for the end of its stdin: who closes a connection loses what is
on its way.
"""

from __future__ import annotations

import collections
import json
import random
import sys
import time
from collections.abc import Callable

import zmq

from vmwatch import wire

SOCKETS = 3
OTHER = 3
"""A node that is believed too, as itself."""
UUID = "6695eb01-f6a4-8304-79aa-97f2502e1930"
Frames = list[bytes]


class Liar:
    """Makes messages. It knows the node's secret and those of others, but says nothing that could be believed."""

    def __init__(self, secret: str, node_id: int, epoch: int, rng: random.Random) -> None:
        self.secret, self.node_id, self.epoch, self.rng = secret, node_id, epoch, rng
        self.domain = {"uuid": UUID, "name": "web1", "state": wire.CRASHED, "detail": "lie", "age": 0.0, "job": ""}
        self.raw = {
            "version": 1,
            "node_id": node_id,
            "epoch": epoch,
            "sequence": 10**9,
            "time": time.time(),
            "kind": wire.EVENT,
            "domains": [self.domain],
        }
        self.body = json.dumps(self.raw).encode()
        self.proof = self.prove(self.body)
        self.ways: list[tuple[str, Callable[[], Frames]]] = [
            ("malformed", lambda: [rng.randbytes(rng.randrange(300))]),
            ("forged", lambda: [rng.randbytes(rng.randrange(300)), rng.randbytes(rng.randrange(80))]),
            ("forged", lambda: [self.body[: rng.randrange(len(self.body))], self.proof]),
            ("forged", self.flipped),
            ("forged", lambda: [self.body, b"%064x" % rng.getrandbits(256)]),
            ("malformed", lambda: [self.body, self.proof, rng.randbytes(9)]),
            ("malformed", lambda: [self.body, self.proof] + [b""] * rng.randrange(1, 20)),
            ("malformed", self.wild),
            ("replayed", lambda: self.signed(epoch=epoch - rng.randrange(1, 10**9))),
            ("stale", lambda: self.signed(epoch=time.time_ns() + rng.randrange(2 * 86400 * 10**9, 2**62))),
            ("forged", lambda: [self.body, wire.prove(self.body, node_id, wire.own_secret(secret, OTHER))]),
            ("forged", lambda: [self.body, self.prove(self.body, OTHER)]),
            ("forged", lambda: [self.body, wire.sign(self.body, secret).encode()]),
            ("unknown", lambda: [self.body, self.prove(self.body, rng.randrange(10**6, 10**18))]),
            ("stale", lambda: self.signed(time=time.time() + rng.choice((-1, 1)) * rng.randrange(200, 10**9))),
            ("malformed", lambda: self.signed_body(rng.randbytes(rng.randrange(200)))),
        ]

    def message(self) -> tuple[str, Frames]:
        """One message, and why it must be refused."""
        if self.rng.random() < 0.0001:
            # Nearly as large as a message may be.
            return "forged", [bytes(self.rng.randrange(1 << 20, 4 << 20)), self.proof]
        reason, make = self.rng.choice(self.ways)
        return reason, make()

    def flipped(self) -> Frames:
        """One bit is another one."""
        body = bytearray(self.body)
        body[self.rng.randrange(len(body))] ^= 1 << self.rng.randrange(8)
        return [bytes(body), self.proof]

    def prove(self, body: bytes, node_id: int = 0) -> bytes:
        """The proof of the node, or of another."""
        return wire.prove(body, node_id or self.node_id, wire.own_secret(self.secret, node_id or self.node_id))

    def signed_body(self, body: bytes) -> Frames:
        """A body with a proof that fits."""
        return [body, self.prove(body)]

    def signed(self, **fields: object) -> Frames:
        """The message with other fields, and a proof that fits."""
        return self.signed_body(json.dumps({**self.raw, **fields}).encode())

    def wild(self) -> Frames:
        """JSON with a proof that fits, and one field that does not."""
        numbers = ["version", "node_id", "epoch", "sequence", "time", "clock", "age"]
        field = self.rng.choice([*numbers, "kind", "final", "domains", "statistics"])
        values = [None, "x", {"a": [1]}, [[]], "\ud800", [None] * self.rng.randrange(1, 50), {}]
        if field in ("domains", "statistics"):
            values = [[value] for value in [*values, 1, 1.5, True]] + [None, 7, [{"uuid": UUID}]]
        if field == "domains":
            values += [[{**self.domain, name: value}] for name in ("age", "job") for value in (None, {}, [1])]
        return self.signed(**{field: self.rng.choice(values)})


def main(endpoint: str, secret: str, node_id: int, epoch: int, seed: int, count: int, last: int) -> None:
    """Send them all, over several sockets."""
    rng = random.Random(seed)
    liar = Liar(secret, node_id, epoch, rng)
    sent: collections.Counter[str] = collections.Counter()
    with zmq.Context() as context:
        sockets = [context.socket(zmq.PUSH) for _ in range(SOCKETS)]
        for socket in sockets:
            socket.connect(endpoint)
        for number in range(count):
            reason, frames = liar.message()
            sockets[number % SOCKETS].send_multipart(frames)
            sent[reason] += 1
        for number, socket in enumerate(sockets):
            alive = wire.Message(last + number, epoch, 1, time.time(), wire.ALIVE)
            socket.send_multipart(wire.encode(alive, wire.own_secret(secret, last + number)))
        print(json.dumps(sent), flush=True)
        sys.stdin.read()
        for socket in sockets:
            socket.close(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:]))  # type: ignore[arg-type]
