"""The panel's picture of a VM becomes true again whatever dies: real libvirt, real daemons, a real guest."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.lab.hosts import Node
from tests.stack import Stack, done, wait_until

NAME = "watched"
SILENCE_SECONDS = 45.0


class Guest:
    """A VM whose domain is changed behind the panel's back."""

    def __init__(self, node: Node, api: httpx.Client, path: str) -> None:
        self.node, self.api, self.path = node, api, path

    def virsh(self, verb: str) -> None:
        """Change the domain on its node."""
        self.node.run(["virsh", "-c", "qemu:///system", verb, NAME])

    @property
    def status(self) -> str:
        """What the panel says."""
        return str(self.api.get(self.path).json()["status"])

    def becomes(self, status: str, seconds: float) -> None:
        """The panel says so within that time."""
        wait_until(lambda: self.status == status, f"the panel says {status}", seconds)

    def history(self) -> list[str]:
        """The statuses so far, oldest first."""
        return [each["status"] for each in reversed(self.api.get(f"{self.path}/history").json())]


@pytest.fixture(scope="module")
def vm(cluster: list[Node], api: httpx.Client) -> Iterator[Guest]:
    """The VM, for all tests of this file."""
    node = cluster[0]
    answer = api.post("vms", json={"name": NAME, "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, answer)
    guest = Guest(node, api, f"vms/{answer.json()['vm']}")
    yield guest
    done(api, api.delete(guest.path))


@pytest.fixture(autouse=True)
def running(vm: Guest) -> None:
    """Each test begins with a running VM that the panel knows to run."""
    domains = vm.node.run(["virsh", "-c", "qemu:///system", "list", "--name"]).stdout.split()
    if NAME not in domains:
        vm.virsh("start")
    vm.becomes("running", 20)


def test_pause_and_resume_are_seen_within_a_second_and_are_history(vm: Guest) -> None:
    before = len(vm.history())
    for verb, status in (("suspend", "paused"), ("resume", "running"), ("destroy", "shut off"), ("start", "running")):
        vm.virsh(verb)
        vm.becomes(status, 1.0)
    assert vm.history()[before:] == ["paused", "running", "shut off", "running"]


def test_vmwatch_node_killed(vm: Guest) -> None:
    vm.node.run(["pkill", "-KILL", "-f", "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"])
    vm.virsh("destroy")
    vm.becomes("shut off", 10)


def test_vmwatch_master_killed(vm: Guest, stack: Stack) -> None:
    stack.kill("vmwatch-master")
    vm.virsh("destroy")
    stack.run("vmwatch-master")
    vm.becomes("shut off", 10)


def test_the_panel_killed_loses_no_history(vm: Guest, stack: Stack) -> None:
    before = len(vm.history())
    stack.kill("panel")
    for verb in ("suspend", "resume", "destroy"):
        vm.virsh(verb)
    stack.run("panel")
    wait_until(stack._serves, "the panel serves", 60)
    vm.becomes("shut off", 10)
    assert vm.history()[before:] == ["paused", "running", "shut off"]


def test_libvirtd_killed(vm: Guest) -> None:
    vm.node.kill_libvirtd()
    vm.node.ensure_libvirt()
    vm.virsh("destroy")
    vm.becomes("shut off", 15)


def test_a_silent_node_makes_its_vms_unknown_until_it_is_heard_again(vm: Guest, stack: Stack) -> None:
    seen = vm.api.get(vm.path).json()["observed_at"]
    vm.node.cut()
    try:
        # The silence itself is what is waited for.
        time.sleep(SILENCE_SECONDS)
        sweep = "from panel.monitoring.periodic import mark_silent_nodes; mark_silent_nodes()"
        wait_until(lambda: stack.manage("shell", "-c", sweep) is not None and vm.status == "unknown", "unknown", 30)
        assert vm.api.get(vm.path).json()["observed_at"] >= seen
        vm.virsh("destroy")
    finally:
        vm.node.heal()
    vm.becomes("shut off", 20)
    # The picture that waited was taken before the guest was turned off: it may come between.
    assert [each for each in vm.history()[-3:] if each != "running"] == ["unknown", "shut off"]
