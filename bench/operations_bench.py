"""Operations on a VM, each against virsh and qemu-img by hand on the same nodes in the same run.

The panel's time is from the request to the end that its task has in the database: how often we ask does not count.
By turns, one round by hand and one by the panel, each on a VM of its own of the same image with the same devices.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from bench.by_hand import Hand
from bench.deploy_bench import moment, remove, seconds
from bench.floor import panel_with_nodes
from tests.lab.hosts import Node
from tests.lab.test_migration import Caller
from tests.stack import done, task_of, wait_for_task

AIM_RATIO, AIM_SECONDS = 1.15, 0.3
ROUNDS = 5
WARM_UP = 8
REACH = """
import socket, sys, time
until = time.monotonic() + 120
while time.monotonic() < until:
    try:
        socket.create_connection((sys.argv[1], 22), 1).close()
        sys.exit(0)
    except OSError:
        time.sleep(0.1)
sys.exit(1)
"""

Times = dict[str, list[float]]


def reach(node: Node, address: str) -> None:
    """The guest answers, and has nothing to do any more."""
    node.run(["/usr/bin/python3", "-c", REACH, address])
    time.sleep(1.0)


class Panel:
    """A VM that is asked for and changed through the panel's API."""

    def __init__(self, api: httpx.Client, nodes: list[Node]) -> None:
        self.api, self.nodes = api, nodes
        self.node = nodes[0]
        self.path = ""
        self.size_gib = 1
        self.seconds = 0.0
        self.parts: dict[str, Times] = {}

    def create(self, name: str) -> tuple[str, str]:
        """Have a VM that is off; its path and its address."""
        raw = {"name": name, "image": "tiny", "flavor": "tiny", "node": self.nodes[0].name}
        answer = self.api.post("vms", json=raw)
        done(self.api, answer)
        path = f"vms/{answer.json()['vm']}"
        done(self.api, self.api.post(f"{path}/force-off", json={}))
        return path, answer.json()["address"]

    def ask(self, operation: str, raw: dict[str, Any] | None = None, until: str | None = None) -> dict[str, Any]:
        """Have it done and measure it, to the task's end or that of one step; answers the task."""
        began = time.time()
        answer = self.api.post(f"{self.path}/{operation}", json=raw or {})
        accepted = time.time() - began
        task = wait_for_task(self.api, task_of(answer))
        assert task["status"] == "done", task["error"]
        steps = {step["name"]: step for step in task["steps"]}
        self.seconds = moment((steps[until] if until else task)["finished_at"]) - began
        parts = {"accept": accepted, "queue": moment(task["started_at"]) - began - accepted}
        for name, step in steps.items():
            parts[name] = seconds(step)
            if name == until:
                break
        parts["between"] = self.seconds - sum(parts.values())
        kept = self.parts.setdefault(f"{operation} {(raw and ','.join(raw)) or ''}".strip(), {})
        for name, value in parts.items():
            kept.setdefault(name, []).append(value)
        return task

    def start(self) -> None:
        """Start it."""
        self.ask("start")

    def force_off(self) -> None:
        """Cut its power."""
        self.ask("force-off")

    def snapshot(self) -> None:
        """Take one, with memory while it runs; it is removed when the time is taken."""
        made = self.ask("snapshot", {"name": "before"})["result"]["snapshot"]
        done(self.api, self.api.post(f"{self.path}/delete-snapshot", json={"snapshot": made}))

    def grow(self) -> None:
        """A GiB more."""
        self.size_gib += 1
        self.ask("grow-disk", {"disk": "vda", "size_gib": self.size_gib})

    def clone(self) -> None:
        """A second VM that runs; removed afterwards."""
        task = self.ask("clone", {"name": "panel-copy"}, until="start_domain")
        remove(self.api, int(task["result"]["vm"]))

    def migrate(self) -> int:
        """It runs on the other node with its disk, and nothing of it is left here; libvirt's downtime in ms."""
        self.node = next(node for node in self.nodes if node is not self.node)
        return int(self.ask("migrate", {"node": self.node.name})["result"]["downtime_ms"])


def measured(subject: Hand | Panel, what: Callable[[], Any], name: str, times: Times) -> Any:
    """Do it and keep how long it took."""
    answer = what()
    times.setdefault(name, []).append(subject.seconds)
    return answer


def one_round(subject: Hand | Panel, address: str, times: Times) -> None:
    """All operations once, on a VM that is off before and afterwards."""
    measured(subject, subject.clone, "clone", times)
    measured(subject, subject.snapshot, "snapshot, off", times)
    measured(subject, subject.grow_off if isinstance(subject, Hand) else subject.grow, "grow, off", times)
    measured(subject, subject.start, "start", times)
    reach(subject.node, address)
    measured(subject, subject.grow_live if isinstance(subject, Hand) else subject.grow, "grow, running", times)
    measured(subject, subject.snapshot, "snapshot, running", times)
    reach(subject.node, address)
    caller = Caller(subject.nodes, address)
    told = measured(subject, subject.migrate, "migrate", times)
    reach(subject.node, address)
    times.setdefault("downtime, outside", []).append(caller.stop())
    times.setdefault("downtime, libvirt", []).append(told / 1000)
    measured(subject, subject.force_off, "force off", times)


def warm_up(api: httpx.Client, nodes: list[Node]) -> None:
    """Every process of the worker has a connection to every node, as in a panel that has worked for a while."""
    ids = [each["id"] for each in api.get("nodes").json()["results"]]
    for _ in range(WARM_UP):
        for task in [task_of(api.post(f"nodes/{node}/check", json={})) for node in ids]:
            assert wait_for_task(api, task)["status"] == "done"


def report(hand: Times, panel: Times, parts: dict[str, Times], *, verbose: bool) -> None:
    """Print each operation with its floor, the ratio, and whether the aim is met."""
    print(f"medians in seconds; the aim is {AIM_RATIO} times by hand and {AIM_SECONDS} s")
    print(f"  {'':20} {'by hand':>8} {'panel':>8} {'ratio':>6} {'aim':>8}")
    for name in hand:
        floor, ours = statistics.median(hand[name]), statistics.median(panel[name])
        limit = AIM_RATIO * floor + AIM_SECONDS
        ratio = f"{ours / floor:6.2f}" if floor else f"{'-':>6}"
        verdict = "met" if ours <= limit else "MISSED"
        print(f"  {name:20} {floor:8.3f} {ours:8.3f} {ratio} {limit:8.3f} {verdict}")
    if verbose:
        for operation, times in parts.items():
            told = ", ".join(f"{name} {statistics.median(values):.3f}" for name, values in times.items())
            print(f"    {operation}: {told}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/operations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    parser.add_argument("--steps", action="store_true", help="print the panel's time by step too")
    chosen = parser.parse_args()
    by_hand: Times = {}
    by_panel: Times = {}
    with panel_with_nodes("bench", 2) as (_stack, api, nodes):
        panel, hand = Panel(api, nodes), Hand(nodes)
        _model, hand_address = panel.create("model")
        hand.prepare("model")
        panel.path, address = panel.create("panel")
        warm_up(api, nodes)
        for number in range(chosen.rounds + 1):
            # The first round warms the caches of both, and is not counted.
            times = (by_hand, by_panel) if number else ({}, {})
            if number == 1:
                panel.parts.clear()
            one_round(hand, hand_address, times[0])
            one_round(panel, address, times[1])
    print(f"{chosen.rounds} rounds on two nodes, the image tiny")
    report(by_hand, by_panel, panel.parts, verbose=chosen.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
