"""The panel's knowledge of a VM becomes true again whatever dies: real libvirt, real daemons, a real guest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.lab.guests import make_key, ssh
from tests.lab.hosts import Node
from tests.stack import Stack, done, wait_until

NAME = "watched"
RESYNC_SECONDS = 15.0
ALIVE_SECONDS = 5.0
LONGEST_SECONDS = 90.0
"""For what is waited for here. How soon it comes on an idle machine bench/vmwatch and bench/web --events print."""


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

    def becomes(self, status: str) -> None:
        """The panel says so."""
        wait_until(lambda: self.status == status, f"the panel says {status}", LONGEST_SECONDS)

    def history(self) -> list[str]:
        """The statuses so far, oldest first."""
        return [each["status"] for each in reversed(self.api.get(f"{self.path}/history").json())]

    def happened(self, before: int) -> list[str]:
        """What libvirt said since there were so many: a panel that starts slowly heard nothing of it meanwhile."""
        return [each for each in self.history()[before:] if each != "unknown"]

    def history_has(self, before: int, statuses: list[str]) -> None:
        """It has these since there were so many, in their order and no other."""
        try:
            wait_until(lambda: len(self.happened(before)) >= len(statuses), "its history", LONGEST_SECONDS)
        finally:
            assert self.happened(before) == statuses


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
    vm.becomes("running")


def test_pause_and_resume_are_seen_and_are_history(vm: Guest) -> None:
    before = len(vm.history())
    for verb, status in (("suspend", "paused"), ("resume", "running"), ("destroy", "shut off"), ("start", "running")):
        vm.virsh(verb)
        vm.becomes(status)
    vm.history_has(before, ["paused", "running", "shut off", "running"])


def test_vmwatch_node_killed(vm: Guest) -> None:
    vm.node.run(["pkill", "-KILL", "-f", "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"])
    vm.virsh("destroy")
    vm.becomes("shut off")


def test_vmwatch_master_killed(vm: Guest, stack: Stack) -> None:
    stack.kill("vmwatch-master")
    vm.virsh("destroy")
    stack.run("vmwatch-master")
    vm.becomes("shut off")


def test_the_panel_killed_loses_no_history(vm: Guest, stack: Stack) -> None:
    before = len(vm.history())
    stack.kill("panel")
    for verb in ("suspend", "resume", "destroy"):
        vm.virsh(verb)
    stack.run("panel")
    wait_until(stack._serves, "the panel serves", LONGEST_SECONDS)
    vm.becomes("shut off")
    vm.history_has(before, ["paused", "running", "shut off"])


def test_libvirtd_killed(vm: Guest) -> None:
    vm.node.kill_libvirtd()
    vm.node.ensure_libvirt()
    vm.virsh("destroy")
    vm.becomes("shut off")


def test_a_silent_node_makes_its_vms_unknown_until_it_is_heard_again(vm: Guest) -> None:
    before = len(vm.history())
    seen = vm.api.get(vm.path).json()["observed_at"]
    vm.node.cut()
    begun = time.monotonic()
    try:
        vm.becomes("unknown")
        assert time.monotonic() - begun > RESYNC_SECONDS - ALIVE_SECONDS - 1
        assert vm.api.get(vm.path).json()["observed_at"] >= seen
        assert [each for each in problems(vm.api) if "Nothing is heard of node" in each]
        vm.virsh("destroy")
    finally:
        vm.node.heal()
    vm.becomes("shut off")
    wait_until(lambda: not problems(vm.api), "nothing is wrong any more", LONGEST_SECONDS)
    assert vm.history()[before:] == ["unknown", "shut off"]


def test_a_silent_master_is_said_and_nothing_is_believed_meanwhile(vm: Guest, stack: Stack) -> None:
    before = len(vm.history())
    stack.kill("vmwatch-master")
    try:
        vm.becomes("unknown")
        is_said = lambda: any("vmwatch-master is silent" in each for each in problems(vm.api))  # noqa: E731
        wait_until(is_said, "it is said", LONGEST_SECONDS)
    finally:
        stack.run("vmwatch-master")
    vm.becomes("running")
    wait_until(lambda: not problems(vm.api), "nothing is wrong any more", LONGEST_SECONDS)
    assert vm.history()[before:] == ["unknown", "running"]


def test_events_that_wait_while_everything_else_dies_are_all_history(vm: Guest, stack: Stack) -> None:
    before = len(vm.history())
    for name in ("panel", "vmwatch-master"):
        stack.kill(name)
        for verb in ("suspend", "resume"):
            vm.virsh(verb)
    vm.node.run(["pkill", "-KILL", "-f", "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"])
    for name in ("panel", "vmwatch-master"):
        stack.run(name)
    wait_until(stack._serves, "the panel serves", LONGEST_SECONDS)
    vm.history_has(before, ["paused", "running"] * 2)


def test_the_secret_is_changed_and_no_event_is_lost(vm: Guest, stack: Stack) -> None:
    before = len(vm.history())
    first = vm.node.run(["cat", "/etc/vmpanel/vmwatch-node.conf"]).stdout
    pids = watchers(vm.node)
    answer = vm.api.post("vmwatch/configure", json={"rotate": True})
    for verb in ("suspend", "resume") * 3:
        vm.virsh(verb)
    task = done(vm.api, answer)
    assert task["result"] == {"listen": task["result"]["listen"], "configured": 2, "missed": [], "rotated": True}
    for verb, status in (("suspend", "paused"), ("resume", "running")):
        vm.virsh(verb)
        vm.becomes(status)
    vm.history_has(before, ["paused", "running"] * 4)
    changed = vm.node.run(["cat", "/etc/vmpanel/vmwatch-node.conf"]).stdout
    assert changed != first and watchers(vm.node) == pids
    assert "previous_secret" not in (stack.layout.conf.parent / "etc/vmwatch-master.conf").read_text(encoding="utf-8")
    mode = vm.node.run(["stat", "-c", "%a", "/etc/vmpanel/vmwatch-node.conf"]).stdout.strip()
    assert mode == "600"


def test_messages_travel_encrypted_where_that_is_wanted(vm: Guest, stack: Stack) -> None:
    def configure(curve: str) -> None:
        stack.set_option("VmwatchCurve", curve)
        stack.restart("panel", "worker")
        done(vm.api, vm.api.post("vmwatch/configure"))

    before = len(vm.history())
    try:
        configure("yes")
        assert "server_key=" in vm.node.run(["cat", "/etc/vmpanel/vmwatch-node.conf"]).stdout
        for verb, status in (("suspend", "paused"), ("resume", "running")):
            vm.virsh(verb)
            vm.becomes(status)
    finally:
        configure("no")
    vm.virsh("suspend")
    vm.becomes("paused")
    vm.virsh("resume")
    vm.becomes("running")
    vm.history_has(before, ["paused", "running"] * 2)


def test_a_guest_that_powers_itself_off_ends_its_installation(
    cluster: list[Node], api: httpx.Client, stack: Stack, tmp_path: Path
) -> None:
    node = cluster[0]
    private, public = make_key(str(tmp_path))
    raw = {"name": "installer", "image": "tiny", "flavor": "tiny", "node": node.name, "ssh_keys": [public]}
    created = api.post("vms", json=raw)
    done(api, created)
    path = f"vms/{created.json()['vm']}"
    begin = f"from panel.vms.models import Installation; Installation.objects.create(vm_id={created.json()['vm']})"
    stack.manage("shell", "-c", begin)
    assert api.get(path).json()["installing"]
    ssh(node, private, "root", created.json()["address"], "poweroff")
    wait_until(lambda: not api.get(path).json()["installing"], "the installation is over", 60)
    assert [each["status"] for each in api.get(f"{path}/history").json()[:2]] == ["running", "shut off"]
    done(api, api.delete(path))


def watchers(node: Node) -> list[str]:
    """The process ids of the node's vmwatch-node."""
    return node.run(["pgrep", "-f", "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"]).stdout.split()


def problems(api: httpx.Client) -> list[str]:
    """What is open."""
    return [each["text"] for each in api.get("problems").json()["results"]]
