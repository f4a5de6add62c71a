"""Whatever dies while a VM moves: it runs on one node, the panel says on which, and the other has nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.test_deployment_faults import MOMENTS, ask, killing_worker
from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import Node
from tests.lab.test_migration import nothing_of_moves
from tests.stack import Stack, done, task_of, wait_for_task, wait_until

__all__ = ["ask", "killing_worker"]

# The steps of vm.migrate; the first is done in the caller's transaction, the fifth commits.
STEPS = range(1, 7)
COMMIT = 4


class Traveller:
    """A VM that moves to and fro; looks after each move that all is in one place."""

    def __init__(self, api: httpx.Client, nodes: list[Node], path: str, key: str, address: str) -> None:
        self.api, self.nodes, self.path, self.key, self.address = api, nodes, path, key, address
        self.uptime = 0.0

    @property
    def node(self) -> Node:
        """The node that it is on, as the panel says."""
        name = self.api.get(self.path).json()["node"]
        return next(node for node in self.nodes if node.name == name)

    @property
    def other(self) -> Node:
        """The node that it is not on."""
        here = self.node
        return next(node for node in self.nodes if node is not here)

    def leave(self, **raw: Any) -> int:
        """Ask for the move to the other node; answers its task."""
        return task_of(self.api.post(f"{self.path}/migrate", json={"node": self.other.name, **raw}))

    def look(self, node: Node) -> None:
        """It runs there without having been started anew, and nowhere else is anything of it."""
        shown = self.api.get(self.path).json()
        assert (shown["node"], shown["status"]) == (node.name, "running")
        uptime = float(ssh(node, self.key, "root", self.address, "cat /proc/uptime").split()[0])
        assert uptime > self.uptime
        self.uptime = uptime
        assert remains(self.other) == NOTHING
        for each in self.nodes:
            nothing_of_moves(each)
        assert self.api.get("problems").json()["results"] == []


@pytest.fixture
def traveller(
    api: httpx.Client, cluster: list[Node], ask: Callable[..., tuple[int, int]], tmp_path: Path
) -> Iterator[Traveller]:
    """A VM on the first node, with all that one has of it."""
    (tmp_path / "key").mkdir()
    private, public = make_key(str(tmp_path / "key"))
    task, vm = ask("traveller", node=cluster[0].name, ssh_keys=[public])
    address = wait_for_task(api, task)["result"]["address"]
    yield Traveller(api, cluster, f"vms/{vm}", private, address)


@pytest.mark.nightly
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_at_every_step_of_a_move(
    moment: str, killing_worker: Path, traveller: Traveller, api: httpx.Client
) -> None:
    for step in STEPS:
        target = traveller.other
        (killing_worker / "strike").write_text(f"vm.migrate {moment} {step}", encoding="ascii")
        task = wait_for_task(api, traveller.leave(), 120)
        assert task["status"] == "done", (step, task["error"])
        assert not (killing_worker / "strike").exists(), "it had its death"
        traveller.look(target)


@pytest.mark.nightly
def test_a_worker_killed_at_every_step_of_the_way_back_of_a_move(
    killing_worker: Path, traveller: Traveller, api: httpx.Client
) -> None:
    stays = traveller.node
    for step in range(COMMIT + 1):
        (killing_worker / "strike").write_text(f"vm.migrate undo {step}", encoding="ascii")
        task = wait_for_task(api, traveller.leave(), 120)
        assert (task["status"], task["error"]["code"]) == ("failed", "operation_failed"), step
        assert not (killing_worker / "strike").exists(), "it had its death"
        traveller.look(stays)


@pytest.mark.parametrize(
    "victim",
    ["worker", "target's libvirtd", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("agent", "libvirtd"))],
)
def test_what_dies_while_bytes_are_on_their_way(
    victim: str, traveller: Traveller, api: httpx.Client, stack: Stack
) -> None:
    source, target = traveller.node, traveller.other
    task = traveller.leave(bandwidth_mib=50)
    wait_until(lambda: "MiB/s" in api.get(f"tasks/{task}").text, "bytes are on their way", 60)
    if victim == "worker":
        stack.kill("worker")
        stack.run("worker")
    elif victim == "agent":
        source.run(["pkill", "-KILL", "-f", "nodeagent.pyz"], check=False)
    else:
        (source if victim == "libvirtd" else target).kill_libvirtd()
    ended = wait_for_task(api, task, 240)
    assert ended["status"] in ("done", "failed"), ended["error"]
    traveller.look(target if ended["status"] == "done" else source)
    done(api, api.post(f"{traveller.path}/migrate", json={}))


@pytest.mark.nightly
def test_a_target_whose_libvirtd_hangs_does_not_hold_the_vm_for_ever(traveller: Traveller, api: httpx.Client) -> None:
    source, target = traveller.node, traveller.other
    task = traveller.leave(bandwidth_mib=50)
    wait_until(lambda: "MiB/s" in api.get(f"tasks/{task}").text, "bytes are on their way", 60)
    hung = target.pids("libvirtd")
    target.kill(*hung, signal_name="STOP")
    try:
        # It is libvirt's own keepalive that ends the move; what else asks the hung one must not wait longer.
        wait_until(lambda: api.get(f"tasks/{task}").json()["status"] != "running", "the move is given up", 120)
        guest = source.run(["virsh", "domstate", api.get(traveller.path).json()["name"]]).stdout.strip()
        assert guest == "running"
    finally:
        target.kill(*hung, signal_name="CONT")
    ended = wait_for_task(api, task, 240)
    assert ended["status"] in ("done", "failed"), ended["error"]
    traveller.look(target if ended["status"] == "done" else source)
