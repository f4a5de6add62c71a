"""One UUID active on two real nodes: said at once, nothing made worse, until a person says which copy is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done, wait_until

NAME = "twin"
SAID_SECONDS = 2.0
"""From the second report to the alarm."""
RESYNC_SECONDS = 15.0
COPY = (
    "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
)


class Twins:
    """A VM that belongs to `home`, and a domain of its UUID on `other`."""

    def __init__(self, api: httpx.Client, path: str, home: Node, other: Node) -> None:
        self.api, self.path, self.home, self.other = api, path, home, other

    @property
    def vm(self) -> dict[str, Any]:
        """The VM as the panel shows it."""
        return dict(self.api.get(self.path).json())

    def problems(self) -> list[tuple[str, str]]:
        """What is open about the VM: how bad, and which of the nodes it names."""
        found = self.api.get("problems").json()["results"]
        mine = [each for each in found if each["object_type"] == "vm" and each["object_id"] == self.vm["id"]]
        names = (self.home.name, self.other.name)
        return [(each["severity"], "+".join(name for name in names if f"“{name}”" in each["text"])) for each in mine]

    def become(self, problems: list[tuple[str, str]], seconds: float) -> None:
        """These problems are open within that time."""
        wait_until(lambda: self.problems() == problems, f"{problems}, but {self.problems()}", seconds)

    def settle(self, **choice: Any) -> None:
        """A person decides."""
        done(self.api, self.api.post(f"{self.path}/settle", json=choice))

    def start_copy(self) -> None:
        """The domain on the other node runs."""
        virsh(self.other, "start", NAME)

    def refusals(self) -> list[tuple[int, str]]:
        """What is answered to whatever would make it worse."""
        answers = [self.api.post(f"{self.path}/{verb}") for verb in ("start", "restart")]
        return [(each.status_code, each.json()["code"]) for each in [*answers, self.api.delete(self.path)]]


@pytest.fixture(scope="module")
def twins(cluster: list[Node], api: httpx.Client) -> Iterator[Twins]:
    """A VM that runs on the first node, and a domain of its UUID that is off on the second."""
    home, other = cluster[:2]
    answer = api.post("vms", json={"name": NAME, "image": "tiny", "flavor": "tiny", "node": home.name})
    done(api, answer)
    found = Twins(api, f"vms/{answer.json()['vm']}", home, other)
    other.run(["sh", "-c", "cat > /run/twin.xml"], input=COPY.format(NAME, found.vm["uuid"]))
    virsh(other, "define", "/run/twin.xml")
    yield found
    # Its node was given a seed with the VM's name and keys when it was the right copy.
    found.settle(node=home.name, stop_others=True, delete_others=True)
    assert NAME not in virsh(other, "list", "--all", "--name").split()
    wait_until(lambda: not found.vm["seen_elsewhere"], "the copy is gone", RESYNC_SECONDS)
    done(api, api.delete(found.path))
    assert [remains(node) for node in (home, other)] == [NOTHING] * 2


def virsh(node: Node, *words: str, check: bool = True) -> str:
    """What virsh prints on a node."""
    return node.run(["virsh", "-c", "qemu:///system", *words], check=check).stdout.strip()


def test_a_copy_that_is_off_is_no_problem(twins: Twins) -> None:
    assert (twins.problems(), twins.vm["seen_elsewhere"]) == ([], False)


def test_a_second_active_copy_is_an_alarm_at_once_until_it_is_forced_off(twins: Twins) -> None:
    twins.start_copy()
    twins.become([("alarm", "node1+node2")], SAID_SECONDS)
    assert twins.vm["status"] == "running"
    assert twins.refusals() == [(409, "wrong_state")] * 3
    twins.settle(node=twins.home.name, stop_others=True)
    assert twins.problems() == []
    assert (virsh(twins.home, "domstate", NAME), virsh(twins.other, "domstate", NAME)) == ("running", "shut off")
    done(twins.api, twins.api.post(f"{twins.path}/restart"))


def test_a_copy_that_its_node_tells_in_a_full_report_is_an_alarm_as_well(twins: Twins) -> None:
    pattern = "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"
    twins.other.run(["pkill", "-KILL", "-f", pattern])
    twins.start_copy()
    # From the start of the daemon, which its keeper starts again after a second.
    wait_until(lambda: twins.other.run(["pgrep", "-f", pattern], check=False).stdout, "vmwatch-node runs", 10)
    twins.become([("alarm", "node1+node2")], SAID_SECONDS)
    virsh(twins.other, "destroy", NAME)
    twins.become([], SAID_SECONDS)
    assert not twins.vm["seen_elsewhere"]


def test_the_vm_is_the_other_copy_and_then_the_first_again(twins: Twins) -> None:
    twins.start_copy()
    twins.become([("alarm", "node1+node2")], SAID_SECONDS)
    twins.settle(node=twins.other.name)
    assert (twins.vm["node"], twins.vm["status"], twins.vm["seen_elsewhere"]) == (twins.other.name, "running", False)
    assert [severity for severity, _ in twins.problems()] == ["warning"]
    # Both go on, and what is heard of is the copy that was chosen.
    assert virsh(twins.home, "domstate", NAME) == "running"
    virsh(twins.other, "suspend", NAME)
    wait_until(lambda: twins.vm["status"] == "paused", "the chosen copy is watched", SAID_SECONDS)
    virsh(twins.home, "suspend", NAME)
    virsh(twins.home, "resume", NAME)
    twins.settle(node=twins.home.name, stop_others=True)
    assert (twins.vm["node"], twins.vm["status"]) == (twins.home.name, "running")
    assert virsh(twins.other, "domstate", NAME) == "shut off"
    assert twins.problems() == []
