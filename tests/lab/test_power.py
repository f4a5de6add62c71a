"""Power, suspension and snapshots of a real guest on a real node, by the REST API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import LabError, Node
from tests.stack import done, task_of, wait_for_task, wait_until

NAME = "power"
SECTOR = 1_000_000
VIRSH = ["virsh", "-q", "-c", "qemu:///system"]


class Guest:
    """A VM, seen from the panel, from its node and from inside."""

    def __init__(self, node: Node, api: httpx.Client, key: str, created: dict[str, Any]) -> None:
        self.node, self.api, self.key, self.address = node, api, key, created["address"]
        self.path = f"vms/{created['vm']}"

    def ask(self, verb: str, **raw: Any) -> httpx.Response:
        """Ask the panel for an operation."""
        return self.api.post(f"{self.path}/{verb}", json=raw)

    def do(self, verb: str, **raw: Any) -> dict[str, Any]:
        """Have it done."""
        return done(self.api, self.ask(verb, **raw))

    def virsh(self, *words: str) -> str:
        """What virsh says on the node."""
        return self.node.run([*VIRSH, *words]).stdout.strip()

    def inside(self, *command: str) -> str:
        """What a command prints in the guest, as soon as it answers."""

        def answer() -> list[str]:
            try:
                return [ssh(self.node, self.key, "root", self.address, *command)]
            except LabError:
                return []

        found: list[str] = wait_until(answer, f"the guest says {command[0]}", 120)
        return found[0]

    def shown(self, field: str) -> Any:
        """What the panel says."""
        return self.api.get(self.path).json()[field]

    def becomes(self, status: str, seconds: float = 20.0) -> None:
        """The panel says so, and so does libvirt."""
        wait_until(lambda: self.shown("status") == status, f"the panel says {status}", seconds)
        assert self.virsh("domstate", NAME) == status

    def traffic(self) -> int:
        """The bytes that it sent, as the panel has them."""
        return sum(int(month["tx_bytes"]) for month in self.api.get(f"{self.path}/traffic").json())

    def autostarts(self) -> bool:
        """Whether libvirt would start it with the node."""
        return "enable" in self.virsh("dominfo", NAME).split("Autostart:")[1].splitlines()[0]


@pytest.fixture(scope="module")
def vm(cluster: list[Node], api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The VM, for all tests of this file."""
    private, public = make_key(str(tmp_path_factory.mktemp("key")))
    raw = {"name": NAME, "image": "tiny", "flavor": "tiny", "node": cluster[0].name, "ssh_keys": [public]}
    answer = api.post("vms", json=raw)
    done(api, answer)
    yield Guest(cluster[0], api, private, answer.json())
    if api.get(f"vms/{answer.json()['vm']}").status_code == 200:
        done(api, api.delete(f"vms/{answer.json()['vm']}?queue=1"))


@pytest.fixture(autouse=True)
def running(vm: Guest) -> None:
    """Each test begins with a running VM."""
    if vm.shown("status") != "running":
        vm.do("start")


def test_pause_and_resume(vm: Guest) -> None:
    vm.do("pause")
    vm.becomes("paused")
    vm.do("resume")
    vm.becomes("running")
    vm.do("pause")
    vm.do("start")
    vm.becomes("running")


def test_a_reset_guest_begins_anew_without_being_asked(vm: Guest) -> None:
    boot = vm.inside("cat", "/proc/sys/kernel/random/boot_id")
    vm.do("reset")
    wait_until(lambda: vm.inside("cat", "/proc/sys/kernel/random/boot_id") != boot, "the guest begins anew", 120)
    assert vm.shown("status") == "running"


def test_force_off_wins_over_a_shutdown_that_waits_for_the_guest(vm: Guest) -> None:
    # A halted guest heeds no button.
    vm.virsh("suspend", NAME)
    waiting = task_of(vm.ask("stop", timeout_seconds=600))
    wait_until(lambda: "waiting" in str(vm.api.get(f"tasks/{waiting}").json()["steps"]), "it waits for the guest", 30)
    vm.do("force-off")
    vm.becomes("shut off")
    assert wait_for_task(vm.api, waiting)["status"] == "cancelled"
    assert vm.shown("wanted") == "shut off"


def test_autostart_is_libvirts_and_is_kept(vm: Guest) -> None:
    assert not vm.autostarts()
    for enabled in (True, False):
        vm.do("autostart", enabled=enabled)
        assert vm.autostarts() is enabled
        assert vm.shown("autostart") is enabled


def test_a_suspended_vm_stays_off_until_it_is_not_suspended(vm: Guest) -> None:
    vm.do("autostart")
    before = vm.traffic()
    vm.inside("head", "-c", "100000", "/dev/zero")
    vm.do("suspend", reason="not paid for", timeout_seconds=0)
    # Read as it was forced off.
    assert vm.traffic() - before > 100_000
    vm.becomes("shut off")
    assert not vm.autostarts()
    assert vm.shown("suspension_reason") == "not paid for" and vm.shown("suspended_at")
    for verb in ("start", "restart", "resume", "reset"):
        refused = vm.ask(verb)
        assert (refused.status_code, refused.json()["code"]) == (409, "suspended")

    vm.virsh("start", NAME)
    wait_until(lambda: vm.virsh("domstate", NAME) == "shut off", "it is forced off again", 30)
    vm.becomes("shut off")

    vm.do("unsuspend")
    vm.becomes("running")
    assert vm.autostarts() and vm.shown("suspended_at") is None
    vm.do("autostart", enabled=False)


def test_snapshots_bring_back_disk_and_memory(vm: Guest) -> None:
    # The tiny guest lives in its memory; of its disk it leaves the end alone.
    place = "/dev/vda bs=512 count=1"

    def write(text: str) -> None:
        vm.inside(f"echo {text} > /tmp/mark; echo {text} | dd of={place} seek={SECTOR} conv=notrunc; sync")

    def on_disk() -> str:
        drop = "echo 3 > /proc/sys/vm/drop_caches"
        return vm.inside(f"{drop}; dd if={place} skip={SECTOR} 2>/dev/null | head -n 1")

    write("first")
    boot = vm.inside("cat", "/proc/sys/kernel/random/boot_id")
    first = vm.do("snapshot", name="first", description="with memory")["result"]["snapshot"]
    write("second")
    vm.do("stop", timeout_seconds=60)
    refused = vm.ask("snapshot", name="off", with_memory=True)
    assert (refused.status_code, refused.json()["field"]) == (400, "with_memory")
    off = vm.do("snapshot", name="off")["result"]["snapshot"]

    vm.do("revert-snapshot", snapshot=first)
    vm.becomes("running")
    assert (vm.inside("cat", "/tmp/mark"), on_disk()) == ("first", "first")
    assert vm.inside("cat", "/proc/sys/kernel/random/boot_id") == boot
    third = vm.do("snapshot", name="third")["result"]["snapshot"]
    [root] = vm.api.get(f"{vm.path}/snapshots").json()
    assert (root["id"], root["with_memory"], root["vm_status"]) == (first, True, "running")
    assert [(each["id"], each["current"]) for each in root["children"]] == [(off, False), (third, True)]

    before = len(vm.api.get(f"{vm.path}/history").json())
    vm.do("revert-snapshot", snapshot=off)
    vm.becomes("shut off")
    since = vm.api.get(f"{vm.path}/history").json()[:-before]
    assert since[0]["status"] == "shut off"
    assert vm.shown("wanted") == "shut off"
    vm.do("start")
    assert on_disk() == "second"

    vm.do("delete-snapshot", snapshot=first)
    assert [each["name"] for each in vm.api.get(f"{vm.path}/snapshots").json()] == ["off", "third"]
    assert len(vm.virsh("snapshot-list", NAME, "--name").split()) == 2


@pytest.mark.parametrize("running", [True, False])
def test_what_a_libvirtd_that_died_left_in_the_disks_is_deleted_with_the_row(vm: Guest, running: bool) -> None:
    if not running:
        vm.do("force-off")
    made = vm.do("snapshot", name="lost")["result"]["snapshot"]
    [row] = [each for each in flat(vm.api.get(f"{vm.path}/snapshots").json()) if each["id"] == made]
    vm.virsh("snapshot-delete", NAME, row["uuid"], "--metadata")
    [disk] = vm.node.run(["find", "/var/lib/vmpanel/pool/volumes", "-type", "f"]).stdout.split()

    def kept() -> bool:
        return row["uuid"] in vm.node.run(["qemu-img", "info", "--force-share", disk]).stdout

    assert kept()
    vm.do("delete-snapshot", snapshot=made)
    assert not kept()


def test_a_program_of_the_administrators_stops_domains(vm: Guest) -> None:
    program = """#!/bin/sh
uuid=$(sed 's/.*"uuid": "\\([0-9a-f-]*\\)".*/\\1/')
virsh -q -c qemu:///system destroy "$uuid" >&2 || exit 1
echo "$uuid" > /run/stopped-by-us
printf '{"uuid": "%s", "exists": true, "state": "shut off"}' "$uuid"
"""
    vm.node.run(["install", "-d", "-m", "755", "/etc/vmpanel/commands"])
    try:
        vm.node.run(["sh", "-c", "umask 022; cat > /etc/vmpanel/commands/host_stop"], input=program)
        refused = wait_for_task(vm.api, task_of(vm.ask("force-off")))
        assert refused["status"] == "failed" and "not executable" in refused["error"]["message"]
        vm.node.run(["chmod", "755", "/etc/vmpanel/commands/host_stop"])
        vm.do("force-off")
        vm.becomes("shut off")
        assert vm.node.run(["cat", "/run/stopped-by-us"]).stdout.strip() == vm.shown("uuid")
    finally:
        vm.node.run(["rm", "-rf", "/etc/vmpanel/commands", "/run/stopped-by-us"])


def test_a_vm_is_deleted_with_its_snapshots(vm: Guest) -> None:
    vm.do("snapshot", name="last")
    done(vm.api, vm.api.delete(vm.path))
    assert remains(vm.node) == NOTHING


def flat(branches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All snapshots of a tree."""
    return [each for branch in branches for each in (branch, *flat(branch["children"]))]
