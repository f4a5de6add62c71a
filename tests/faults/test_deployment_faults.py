"""Whatever dies in a real deployment: it ends properly without a person's help, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Lab, Node
from tests.stack import Stack, done, task_of, wait_for_task, wait_until

# The steps of vm.create, of which the first is done in the caller's transaction.
STEPS = range(1, 8)
# What a step did is not yet stored, and is.
MOMENTS = ("ran", "stored")
"""Nightly: each run has the same in the database's tests, step by step, and a sample of the sweep on real hosts."""


@pytest.fixture
def killing_worker(stack: Stack, tmp_path: Path) -> Iterator[Path]:
    """The stack's worker is replaced by one that dies on request; gives the folder where deaths are counted."""
    stack.end("worker")
    argv = [word.replace("panel.celery:app", "tests.faults.worker:app") for word in stack.programs["worker"]]
    argv[argv.index("--concurrency") + 1] = "4"
    stack.run("worker", argv, FAULTS_DIR=str(tmp_path))
    yield tmp_path
    stack.end("worker")
    stack.run("worker")


@pytest.fixture
def ask(api: httpx.Client, cluster: list[Node]) -> Iterator[Callable[..., tuple[int, int]]]:
    """Ask for a VM; answers (task, VM). What is left at the end is deleted, and nothing may remain on any node."""
    made: list[int] = []

    def create(name: str, **fields: Any) -> tuple[int, int]:
        answer = api.post("vms", json={"name": name, "image": "tiny", "flavor": "tiny", **fields})
        made.append(task_of(answer) and answer.json()["vm"])
        return task_of(answer), made[-1]

    yield create
    for vm in made:
        if api.get(f"vms/{vm}").status_code == 200:
            done(api, api.delete(f"vms/{vm}?queue=1"))
    for node in cluster:
        assert remains(node) == NOTHING
    network = api.get("networks").json()["results"][0]
    assert network["free_addresses"] == 245


def running(api: httpx.Client, task: int, step: str) -> Callable[[], bool]:
    """Whether the step of the task is under way."""
    return lambda: any(
        each["name"] == step and each["status"] == "running" for each in api.get(f"tasks/{task}").json()["steps"]
    )


@pytest.mark.nightly
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_at_every_step_boundary(
    moment: str, killing_worker: Path, ask: Callable[..., tuple[int, int]], api: httpx.Client
) -> None:
    asked = {f"{moment}-{step}-x": ask(f"{moment}-{step}-x") for step in STEPS}
    for name, (task_id, vm) in asked.items():
        task = wait_for_task(api, task_id, 400)
        assert task["status"] == "done", (name, task["error"])
        assert api.get(f"vms/{vm}").json()["status"] == "running"
    # Every task had its death.
    assert len(list(killing_worker.iterdir())) == len(asked)


def test_a_worker_killed_at_every_step_of_the_way_back(
    killing_worker: Path, ask: Callable[..., tuple[int, int]], api: httpx.Client
) -> None:
    asked = {f"undo-{step}-x": ask(f"undo-{step}-x") for step in range(7)}
    for name, (task_id, vm) in asked.items():
        task = wait_for_task(api, task_id, 180)
        assert (task["status"], task["error"]["code"]) == ("failed", "operation_failed"), name
        assert api.get(f"vms/{vm}").status_code == 404
    assert len(list(killing_worker.iterdir())) == len(asked)


def test_the_whole_worker_killed_and_started_again(
    stack: Stack, ask: Callable[..., tuple[int, int]], api: httpx.Client
) -> None:
    task, _vm = ask("whole")
    wait_until(running(api, task, "wait_for_guest"), "the guest is waited for")
    stack.kill("worker")
    stack.run("worker")
    assert wait_for_task(api, task)["status"] == "done"


@pytest.mark.parametrize("step", ["copy_image", "wait_for_guest"])
def test_the_agent_killed(
    step: str, cluster: list[Node], ask: Callable[..., tuple[int, int]], api: httpx.Client
) -> None:
    node = cluster[0]
    task, _vm = ask("agentless", node=node.name)
    wait_until(lambda: running(api, task, step)() or api.get(f"tasks/{task}").json()["progress"] > 0.4, step)
    node.run(["pkill", "-KILL", "-f", "nodeagent.pyz"], check=False)
    assert wait_for_task(api, task)["status"] == "done"


def test_libvirtd_restarted(cluster: list[Node], ask: Callable[..., tuple[int, int]], api: httpx.Client) -> None:
    node = cluster[0]
    task, vm = ask("nolibvirt", node=node.name)
    wait_until(running(api, task, "wait_for_guest"), "the guest is waited for")
    node.kill_libvirtd()
    assert wait_for_task(api, task)["status"] == "done"
    # vmwatch-node ended with libvirtd and came back with it: the status is true again.
    node.run(["virsh", "-c", "qemu:///system", "destroy", "nolibvirt"])
    wait_until(lambda: api.get(f"vms/{vm}").json()["status"] == "shut off", "the status follows", 20)


def test_the_connection_cut_while_an_image_is_sent_and_then_cancelled(
    cluster: list[Node], ask: Callable[..., tuple[int, int]], api: httpx.Client
) -> None:
    node = cluster[1]
    node.run(["sh", "-c", "rm -f /var/lib/vmpanel/pool/images/*"])
    task, vm = ask("cut", node=node.name, image="debian-12", flavor="small")
    wait_until(running(api, task, "place_image"), "the image is on its way")
    wait_until(lambda: api.get(f"tasks/{task}").json()["progress"] > 0.02, "some of it has arrived")
    node.cut()
    try:
        wait_until(lambda: api.get(f"tasks/{task}").json()["status"] == "retrying", "the cut is noticed", 60)
    finally:
        node.heal()
    try:
        wait_until(running(api, task, "wait_for_guest"), "the deployment goes on", 120)
    except AssertionError:
        raise AssertionError(api.get(f"tasks/{task}").json()) from None
    assert api.post(f"tasks/{task}/cancel").status_code == 202
    assert wait_for_task(api, task)["status"] == "cancelled"
    assert api.get(f"vms/{vm}").status_code == 404


def test_a_worker_killed_at_every_step_of_adding_a_node(killing_worker: Path, lab: Lab, api: httpx.Client) -> None:
    node = lab.add_node()
    raw = {"name": "every-x", "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    added = api.post("nodes", json=raw)
    task = wait_for_task(api, task_of(added), 300)
    assert task["status"] == "done", task["error"]
    assert len(list(killing_worker.iterdir())) == len(task["steps"]) - 1
    assert api.get(f"nodes/{added.json()['node']}").json()["state"] == "ready"
    done(api, api.delete(f"nodes/{added.json()['node']}"))


@pytest.mark.nightly
def test_a_worker_killed_at_every_step_of_not_adding_a_node_after_all(
    killing_worker: Path, lab: Lab, api: httpx.Client
) -> None:
    node = lab.add_node()
    keys_before = node.run(["cat", "/root/.ssh/authorized_keys"]).stdout
    raw = {"name": "every-back-x", "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    added = api.post("nodes", json=raw)
    task = wait_for_task(api, task_of(added), 300)
    assert (task["status"], task["error"]["code"]) == ("failed", "operation_failed"), task["steps"]
    assert len(list(killing_worker.iterdir())) >= len(task["steps"]) - 1
    assert api.get(f"nodes/{added.json()['node']}").status_code == 404
    assert node.run(["cat", "/root/.ssh/authorized_keys"]).stdout == keys_before
    for gone in ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel", "/run/vmpanel"):
        assert node.run(["ls", gone], check=False).returncode != 0, node.run(["find", gone]).stdout
    assert "vmbr" not in node.run(["ip", "link"]).stdout
