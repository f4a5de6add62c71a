"""A relay between vmwatch-node and vmwatch-master that loses, delays, doubles and reorders messages.

Below ZeroMQ, TCP would mend what netem does to packets: neither daemon would ever see a message twice or out
of order. Here they do. The way through it is laid in each node's network (divert()), so that the nodes speak to
the very address that the panel tells them, whenever it tells them.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import json
import random
import threading
import time

import zmq

from tests.lab.hosts import Node

LOST, DOUBLED, DELAYED = 0.1, 0.1, 0.3
LONGEST_DELAY = 0.7
TABLE = "storm"


def divert(node: Node, master: tuple[str, int], relay_port: int) -> None:
    """What the node sends to the master arrives at the relay, from its next connection on."""
    address, port = master
    rules = f"""table ip {TABLE} {{
        chain out {{
            type nat hook output priority -100
            ip daddr {address} tcp dport {port} dnat to {address}:{relay_port}
        }}
    }}"""
    node.run(["nft", "-f", "-"], input=rules)


def lead_back(node: Node) -> None:
    """The node's next connection to the master is the master's own."""
    node.run(["nft", "delete", "table", "ip", TABLE])


class Weather:
    """What a storm's seed has for each message: by its node, the daemon's how-manieth run it is of, and its number.

    Not by when it arrives, so that a seed has the same for it again.
    """

    def __init__(self, seed: int, last_numbers: dict[int, tuple[int, int]]) -> None:
        self._seed = seed
        self._runs: dict[int, list[int]] = {node: [epoch] for node, (epoch, _) in last_numbers.items()}
        self._begin = {(node, epoch): sequence for node, (epoch, sequence) in last_numbers.items()}

    def fates(self, node: int, epoch: int, sequence: int) -> list[float]:
        """After how many seconds each copy of a message is passed on."""
        runs = self._runs.setdefault(node, [])
        if epoch not in runs:
            runs.append(epoch)
        number = sequence - self._begin.get((node, epoch), 0)
        chance = random.Random(f"{self._seed} {node} {runs.index(epoch)} {number}")
        if chance.random() < LOST:
            return []
        copies = 2 if chance.random() < DOUBLED else 1
        return [chance.uniform(0, LONGEST_DELAY) if chance.random() < DELAYED else 0.0 for _ in range(copies)]


class Relay:
    """Passes whole messages on to the master at `to`: as they come, or in a storm as its weather is.

    `passed` counts messages by node; `lost`, `doubled` and `overtaken` (passed on after a later one) those of all
    storms.
    """

    def __init__(self, listen: str, to: str) -> None:
        self.passed: collections.Counter[int] = collections.Counter()
        self.storms = self.lost = self.doubled = self.overtaken = 0
        self._weather: Weather | None = None
        self._last: dict[int, tuple[int, int]] = {}
        self._over = threading.Event()
        self._to = to
        self._in = zmq.Context.instance().socket(zmq.PULL)
        self._in.bind(listen)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def storm(self, seed: int) -> None:
        """From now on the weather of this seed."""
        self.storms += 1
        self._weather = Weather(seed, dict(self._last))

    def calm(self) -> None:
        """From now on each message at once, those that were held up too."""
        self._weather = None

    def close(self) -> None:
        """Pass nothing on any more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        out = zmq.Context.instance().socket(zmq.PUSH)
        out.connect(self._to)
        waiting: list[tuple[float, int, list[bytes]]] = []
        order = itertools.count()
        newest = -1
        try:
            while not self._over.is_set():
                while self._in.poll(5):
                    frames = self._in.recv_multipart()
                    for delay in self._fates(frames):
                        heapq.heappush(waiting, (time.monotonic() + delay, next(order), frames))
                while waiting and (waiting[0][0] <= time.monotonic() or self._weather is None):
                    _, number, frames = waiting[0]
                    try:
                        out.send_multipart(frames, zmq.DONTWAIT)
                    except zmq.Again:
                        break
                    heapq.heappop(waiting)
                    self.passed[int(json.loads(frames[0])["node_id"])] += 1
                    self.overtaken += number < newest
                    newest = max(newest, number)
        finally:
            self._in.close(0)
            out.close(0)

    def _fates(self, frames: list[bytes]) -> list[float]:
        body = json.loads(frames[0])
        node, epoch, sequence = body["node_id"], body["epoch"], body["sequence"]
        self._last[node] = (epoch, sequence)
        weather = self._weather
        if weather is None:
            return [0.0]
        fates = weather.fates(node, epoch, sequence)
        self.lost += not fates
        self.doubled += len(fates) > 1
        return fates
