"""node.check on real hosts: what can be mended is mended, the rest is a problem of its part until it is well again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from panel.cluster import agent_package
from tests.lab.hosts import Node
from tests.lab.test_vmwatch import watchers
from tests.stack import done, task_of, wait_for_task, wait_until

BRIDGE = "vmbr-nat0"
POOL = "/var/lib/vmpanel/pool"
OVERRIDES = "/etc/vmpanel/commands"
SLOW_CLOCK = """
import dataclasses

from nodeagent.commands import builtin


def run(request, job):
    facts = builtin("node_facts")(request, job)
    return dataclasses.replace(facts, time=facts.time - 90)
"""


class Checked:
    """A node of the panel, seen through the API."""

    def __init__(self, node: Node, api: httpx.Client) -> None:
        self.node, self.api = node, api
        self.id = api.get("nodes", params={"name": node.name}).json()["results"][0]["id"]

    def check(self) -> dict[str, Any]:
        """Check it; answers what was found."""
        return dict(done(self.api, self.api.post(f"nodes/{self.id}/check", json={}))["result"])

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.api.get(f"nodes/{self.id}").json()["state"])

    def problems(self) -> dict[str, str]:
        """Severities of its open problems by part, but for vmwatch's silence, which follows from others."""
        shown = self.api.get("problems").json()["results"]
        prefix = f"node:{self.id}:"
        found = {each["key"].removeprefix(prefix): each["severity"] for each in shown if each["key"].startswith(prefix)}
        return {part: severity for part, severity in found.items() if part != "silent"}

    def there(self, *argv: str) -> bool:
        """Whether a command succeeds on the node."""
        return self.node.run(argv, check=False).returncode == 0


@pytest.fixture(scope="module")
def checked(cluster: list[Node], api: httpx.Client) -> Checked:
    """The lab's second node: the first has other tests' VMs."""
    return Checked(cluster[1], api)


@pytest.fixture(autouse=True)
def well(checked: Checked) -> Iterator[None]:
    """Each test begins and ends with a node that is well."""
    assert checked.check()["complaints"] == []
    yield
    wait_until(lambda: checked.check().get("complaints") == [], "nothing is wrong any more", 60)
    assert (checked.state, checked.problems()) == ("ready", {})


def end_libvirtd(node: Node) -> None:
    """libvirtd does not run, and nobody starts it again."""
    keeper = node.run(["cat", "/run/vmpanel/vmpanel-libvirtd.keeper"], check=False).stdout.split()
    node.kill(*[int(each) for each in keeper[:1]])
    node.kill_libvirtd()
    wait_until(lambda: not node.pids("libvirtd"), "libvirtd is dead", 10)


def test_a_bridge_and_its_rules_that_are_gone_are_made_again(checked: Checked) -> None:
    checked.node.run(["ip", "link", "delete", BRIDGE])
    checked.node.run(["nft", "flush", "ruleset"])
    assert checked.check() == {"reachable": True, "complaints": []}
    assert BRIDGE in checked.node.run(["ip", "-o", "link"]).stdout
    assert "masquerade" in checked.node.run(["nft", "list", "ruleset"]).stdout
    assert checked.problems() == {}


def test_a_bridge_that_cannot_be_made_is_one_problem_and_the_rest_is_mended(checked: Checked) -> None:
    node = checked.node
    node.run(["ip", "link", "delete", BRIDGE])
    node.run(["ip", "link", "add", BRIDGE, "type", "veth", "peer", "name", "other0"])
    try:
        for _ in range(2):
            node.run(["rm", "-rf", f"{POOL}/seeds"])
            result = checked.check()
            assert result["reachable"] and BRIDGE not in result["complaints"]
            assert len(result["complaints"]) == 1
            assert (checked.state, checked.problems()) == ("ready", {"network": "error"})
            assert checked.there("ls", f"{POOL}/seeds")
    finally:
        node.run(["ip", "link", "delete", BRIDGE])
    checked.check()
    assert checked.problems() == {}


def test_a_storage_s_folders_that_are_gone_are_made_again(checked: Checked) -> None:
    checked.node.run(["rm", "-rf", f"{POOL}/images", f"{POOL}/seeds"])
    assert checked.check() == {"reachable": True, "complaints": []}
    assert checked.node.run(["ls", POOL]).stdout.split() == ["images", "seeds", "volumes"]


def test_a_storage_that_is_gone_is_not_made_again_until_somebody_says_so(checked: Checked) -> None:
    checked.node.run(["rm", "-rf", POOL])
    (complaint,) = checked.check()["complaints"]
    assert "is not mounted" in complaint
    assert not checked.there("ls", POOL)
    done(checked.api, checked.api.post(f"nodes/{checked.id}/accept-storage", json={"pool": "local"}))
    assert checked.check() == {"reachable": True, "complaints": []}
    assert checked.node.run(["ls", POOL]).stdout.split() == ["images", "seeds", "volumes"]


def test_a_storage_that_cannot_be_made_is_one_problem_until_it_can(checked: Checked) -> None:
    node = checked.node
    node.run(["mv", POOL, f"{POOL}.aside"])
    node.run(["touch", POOL])
    try:
        for _ in range(2):
            assert checked.check()["reachable"]
            assert (checked.state, checked.problems()) == ("ready", {"storage": "error"})
    finally:
        node.run(["rm", POOL])
        node.run(["mv", f"{POOL}.aside", POOL])
    checked.check()
    assert checked.problems() == {}


def test_a_libvirtd_that_was_stopped_is_started(checked: Checked) -> None:
    end_libvirtd(checked.node)
    assert checked.check() == {"reachable": True, "complaints": []}
    assert checked.there("virsh", "-c", "qemu:///system", "version")


def test_a_libvirtd_that_cannot_start_is_one_problem_and_the_rest_is_mended(
    checked: Checked, api: httpx.Client
) -> None:
    node = checked.node
    end_libvirtd(node)
    node.run(["mv", "/usr/sbin/libvirtd", "/usr/sbin/libvirtd.away"])
    node.run(["sh", "-c", "printf '#!/bin/sh\\nexit 1\\n' > /usr/sbin/libvirtd; chmod 755 /usr/sbin/libvirtd"])
    try:
        node.run(["ip", "link", "delete", BRIDGE])
        answers = [api.post(f"nodes/{checked.id}/check", json={}) for _ in range(2)]
        for answer in answers:
            result = wait_for_task(api, task_of(answer))["result"]
            assert result["reachable"] and len(result["complaints"]) == 1
        assert (checked.state, checked.problems()) == ("ready", {"libvirt": "error"})
        assert BRIDGE in node.run(["ip", "-o", "link"]).stdout
        refused = api.post("vms", json={"name": "later", "image": "tiny", "flavor": "tiny", "node": node.name})
        assert refused.status_code == 409 and "libvirt does not run" in refused.text
    finally:
        node.run(["mv", "/usr/sbin/libvirtd.away", "/usr/sbin/libvirtd"])
    assert checked.check() == {"reachable": True, "complaints": []}
    assert checked.problems() == {}


def test_a_clock_that_is_off_is_a_problem_until_it_is_right(checked: Checked) -> None:
    # The node has this machine's clock; a replaced command lets it be another.
    checked.node.run(["mkdir", "-p", OVERRIDES])
    checked.node.run(["tee", f"{OVERRIDES}/node_facts.py"], input=SLOW_CLOCK)
    try:
        [complaint] = checked.check()["complaints"]
        assert "90 s behind" in complaint or "89 s behind" in complaint
        assert checked.problems() == {"clock": "error"}
    finally:
        checked.node.run(["rm", "-r", OVERRIDES])
    checked.check()
    assert checked.problems() == {}


def test_a_node_with_older_programs_gets_the_panel_s_and_its_vmwatch_is_started_anew(checked: Checked) -> None:
    node = checked.node
    before = watchers(node)
    sums = node.run(["sha256sum", agent_package.AGENT_PATH, agent_package.VMWATCH_PATH]).stdout
    for path in (agent_package.AGENT_PATH, agent_package.VMWATCH_PATH):
        node.run(["sh", "-c", 'echo older > "$1.new" && mv "$1.new" "$1"', "sh", path])
    assert checked.check() == {"reachable": True, "complaints": []}
    assert node.run(["sha256sum", agent_package.AGENT_PATH, agent_package.VMWATCH_PATH]).stdout == sums
    wait_until(lambda: watchers(node) and watchers(node) != before, "vmwatch-node is another process", 20)


def test_a_node_that_was_cut_off_for_a_moment_is_ready_again_as_soon_as_it_is_heard(checked: Checked) -> None:
    # Else their connections would be waited for longer than the moment.
    checked.node.run(["pkill", "-KILL", "-f", "^/usr/bin/python3 -I /usr/lib/vmpanel/nodeagent.pyz"], check=False)
    checked.node.cut()
    try:
        assert not checked.check()["reachable"]
        assert (checked.state, checked.problems()) == ("unreachable", {"unreachable": "error"})
    finally:
        checked.node.heal()
    wait_until(lambda: checked.state == "ready", "it is checked again by itself", 30)
    assert checked.problems() == {}
