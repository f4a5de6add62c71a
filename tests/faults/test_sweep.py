"""Every operation, every step of it, everything that can die: what is left is judged by the doctor.

VMPANEL_SWEEP=all tries every case and prints the matrix; else a sample, in which each fault and each operation is.
VMPANEL_SWEEP_SEED chooses another sample, VMPANEL_SWEEP=EXPRESSION the cases whose id the regular
expression is found in (“vm.snapshot-.*-ran-”). With VMPANEL_SWEEP_RECORD=FILE what passed is left out when
the run is repeated. script/sweep does a night's run with all of it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from panel.tasks import registry
from panel.tasks.worker import run_task
from tests.faults.matrix import Matrix
from tests.faults.sweep_world import EXCLUDED, SCENARIOS, Subject, operation_of
from tests.lab.hosts import Lab, Node
from tests.stack import Stack, done, wait_for_task, wait_until

SWEEP = os.environ.get("VMPANEL_SWEEP", "")
SEED = int(os.environ.get("VMPANEL_SWEEP_SEED", "1"))
SAMPLE = 8
MOMENTS = ("before", "ran")
ENDED_SECONDS = 1.0
CALM_SECONDS = 30.0
"""After the task has ended: until vmwatch has told what became of a VM whose node was cut off."""


@dataclass(frozen=True)
class Case:
    """What is asked for, where it is struck, and by what."""

    operation: str
    step: str
    moment: str
    fault: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.step}-{self.moment}-{self.fault}"


@dataclass
class World:
    """What a fault may reach."""

    stack: Stack
    api: httpx.Client
    node: Node
    folder: Path
    task: int
    vm_name: str

    def reached(self) -> bool:
        """Whether the worker waits where it is to be struck, or the task ended without."""
        # Only now and then the task: to answer costs the panel more than a small step costs the worker.
        until = time.monotonic() + ENDED_SECONDS
        while not (self.folder / "reached").exists() and time.monotonic() < until:
            time.sleep(0.02)
        return (self.folder / "reached").exists() or self.ended()

    def ended(self) -> bool:
        """Whether the task has; one that waits for others, as an evacuation does, is to be run again."""
        return self.status() not in ("queued", "running", "retrying", "")

    def put_aside(self) -> bool:
        """Whether the worker carries the task no more: it ended, waits for another try, or is undone."""
        return self.status() not in ("queued", "running", "")

    def status(self) -> str:
        """The task's; empty while the panel does not answer."""
        try:
            return str(self.api.get(f"tasks/{self.task}").json()["status"])
        except httpx.HTTPError:
            return ""


def kill_worker(world: World) -> None:
    os.kill(int((world.folder / "reached").read_text(encoding="ascii")), signal.SIGKILL)


def kill_agent(world: World) -> None:
    world.node.run(["pkill", "-KILL", "-f", "nodeagent.pyz"], check=False)


def restart_libvirtd(world: World) -> None:
    world.node.kill_libvirtd()
    world.node.ensure_libvirt()


def kill_qemu(world: World) -> None:
    world.node.run(["pkill", "-KILL", "-f", f"guest={world.vm_name},"], check=False)


def cut_network(world: World) -> None:
    world.node.cut()
    (world.folder / "go").touch()
    try:
        wait_until(world.put_aside, "the cut is noticed", 60)
    finally:
        world.node.heal()


def restart_database(world: World) -> None:
    world.stack.services.kill("mariadb")
    (world.folder / "go").touch()
    time.sleep(1)
    world.stack.services.start_again("mariadb")


def flush_redis(world: World) -> None:
    subprocess.run(["redis-cli", "-s", str(world.stack.services.redis), "flushall"], check=True, capture_output=True)


def deliver_twice(world: World) -> None:
    # Our Redis is the stack's.
    run_task.apply_async((world.task,), retry=False)


FAULTS: dict[str, Callable[[World], None]] = {
    "worker-killed": kill_worker,
    "agent-killed": kill_agent,
    "libvirtd-restarted": restart_libvirtd,
    "qemu-killed": kill_qemu,
    "network-cut": cut_network,
    "database-restarted": restart_database,
    "redis-flushed": flush_redis,
    "delivered-twice": deliver_twice,
}

SAMPLED = ("vm.create", "vm.start", "vm.stop", "vm.force-off", "vm.restart", "vm.delete")
"""What a sample is drawn from."""

CASES = [
    Case(name, step.name, moment, fault)
    for name in SCENARIOS
    for step in registry.get(operation_of(name)).steps
    if not step.inline
    for moment, fault in itertools.product(MOMENTS, FAULTS)
]


def chosen() -> list[Case]:
    """All cases, those asked for, or a sample that has every fault and every operation."""
    if SWEEP:
        recorded = Matrix.recorded()
        asked = [case for case in CASES if SWEEP == "all" or re.search(SWEEP, str(case))]
        return [case for case in asked if not recorded.passed(astuple(case))]
    chance = random.Random(SEED)
    mixed = [case for case in chance.sample(CASES, len(CASES)) if case.operation in SAMPLED]
    found: list[Case] = []
    for part in ("fault", "operation"):
        for value in FAULTS if part == "fault" else SAMPLED:
            if not any(getattr(case, part) == value for case in found):
                found.append(next(case for case in mixed if getattr(case, part) == value))
    return found + [case for case in mixed if case not in found][: max(0, SAMPLE - len(found))]


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stack's worker is replaced by one that waits at the planned moment; the folder of its plan."""
    found = tmp_path_factory.mktemp("sweep")
    stack.end("worker")
    # A guest that boots, or was struck, does not obey: that is the same after a minute.
    stack.set_option("ShutdownSeconds", "3")
    argv = [word.replace("panel.celery:app", "tests.faults.pausing_worker:app") for word in stack.programs["worker"]]
    stack.run("worker", argv, FAULTS_DIR=str(found))
    yield found
    stack.end("worker")
    stack.set_option("ShutdownSeconds", "60")
    stack.run("worker")


@pytest.fixture(scope="module")
def subject(
    stack: Stack,
    api: httpx.Client,
    lab: Lab,
    cluster: list[Node],
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Subject]:
    """The VM that operations are tried on."""
    found = Subject(stack, api, lab, cluster[:2], tmp_path_factory.mktemp("sweep-iso"))
    yield found
    found.remove()


def examined(api: httpx.Client) -> list[dict[str, str]]:
    """What the doctor finds."""
    findings: list[dict[str, str]] = done(api, api.post("cluster/examine"))["result"]["findings"]
    return findings


@pytest.fixture(scope="module")
def found_before(api: httpx.Client, cluster: list[Node]) -> list[dict[str, str]]:
    """What the doctor finds before anything is struck: what tests of other files left is not judged here."""
    return examined(api)


def test_the_sweep_knows_every_operation() -> None:
    with_work = {each.name for each in registry.every() if not all(step.inline for step in each.steps)}
    assert {operation_of(name) for name in SCENARIOS} | set(EXCLUDED) == with_work
    assert not set(SCENARIOS) & set(EXCLUDED)
    assert all(EXCLUDED.values())


@pytest.mark.parametrize("case", chosen(), ids=str)
def test_whatever_dies_the_vm_ends_in_a_state_that_the_panel_knows(
    case: Case,
    subject: Subject,
    stack: Stack,
    api: httpx.Client,
    folder: Path,
    record_property: Callable[[str, object], None],
    found_before: list[dict[str, str]],
) -> None:
    scenario, operation = SCENARIOS[case.operation], operation_of(case.operation)
    record_property("case", astuple(case))
    for name in ("plan.json", "reached", "go"):
        (folder / name).unlink(missing_ok=True)
    subject.bring(scenario.state)
    raw = {**scenario.raw, **scenario.prepare(subject)}
    (folder / "plan.json").write_text(json.dumps([operation, case.step, case.moment]), encoding="utf-8")

    task_id = (scenario.ask or partial(Subject.ask, operation=operation))(subject, raw=raw)
    world = World(stack, api, subject.node, folder, task_id, subject.name)
    wait_until(world.reached, f"{case} is reached", 90)
    assert (folder / "reached").exists(), api.get(f"tasks/{task_id}").json()["error"]
    FAULTS[case.fault](world)
    (folder / "go").touch()
    task = wait_for_task(api, task_id, 180)
    (folder / "plan.json").unlink()

    assert task["status"] in ("done", "failed"), task["error"]
    # What did not come about says why.
    assert task["status"] == "done" or task["error"]["code"], task
    scenario.clean(subject)
    found: list[dict[str, str]] = []

    def calm() -> bool:
        found[:] = [each for each in examined(api) if each not in found_before]
        return not found

    try:
        wait_until(calm, "the doctor finds nothing", CALM_SECONDS)
    except AssertionError:
        raise AssertionError(f"seed {SEED}, {case}: task {task['status']} {task['error']}; {found}") from None
    record_property("ended", task["status"])
