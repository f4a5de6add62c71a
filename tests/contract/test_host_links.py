"""Bonds and VLANs of the host: the fake and the real agent alike, as far as the kernel has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.host_links import lines
from nodeagent.protocol import links
from tests.contract.bridges import refusal
from tests.contract.subjects import AgentSubject, FakeSubject, Subject
from tests.contract.test_bridge_kinds import host_now

pytestmark = pytest.mark.netns
BOND = links.LinkEnsure("bond0", "bond", ports=["p0", "p1"], mode="active-backup", trial_seconds=30.0)
VLAN = links.LinkEnsure("p0.40", "vlan", parent="p0", vlan=40)


def give(node: Subject, *names: str) -> None:
    """The host has network cards that nothing uses."""
    for name in names:
        if isinstance(node, FakeSubject):
            node.node.host_links.append(name)
        elif isinstance(node, AgentSubject):
            node.agent.run_in_namespace("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}f")


def can(node: Subject, kind: str) -> bool:
    """Whether the node's kernel has such interfaces."""
    if not isinstance(node, AgentSubject):
        return True
    shown = node.agent.run_in_namespace("sh", "-c", f"ip link add try0 type {kind} 2>&1; ip link del try0 2>&1; true")
    return "Unknown device type" not in shown and "not supported" not in shown


@pytest.mark.covers("link_ensure")
def test_what_can_be_no_interface_is_refused_and_changes_nothing(node: Subject) -> None:
    give(node, "p0", "p1")
    before = host_now(node) if isinstance(node, AgentSubject) else []
    wrong = (
        replace(BOND, name="sixteen-letters-"), replace(BOND, name="a b"), replace(BOND, kind="team"),
        replace(BOND, ports=[]), replace(BOND, ports=["p0", "p0"]), replace(BOND, mode="fast"),
        replace(BOND, ports=["p0", "x;y"]), replace(VLAN, vlan=4095), replace(VLAN, parent=""),
    )  # fmt: skip
    assert {refusal(node, each) for each in wrong} == {"invalid_params"}
    assert refusal(node, replace(BOND, ports=["p0", "nic9"])) == "no_such_interface"
    assert refusal(node, replace(VLAN, parent="nic9")) == "no_such_interface"
    assert refusal(node, replace(BOND, name="p1", ports=["p0"])) == "exists"
    if isinstance(node, AgentSubject):
        assert host_now(node) == before
        # What the host uses itself is not taken from under it.
        node.agent.run_in_namespace("ip", "address", "add", "192.0.2.9/24", "dev", "p1")
        assert refusal(node, BOND) == "in_use"


@pytest.mark.covers("link_confirm", "link_remove")
@pytest.mark.parametrize("asked", [BOND, VLAN], ids=["bond", "vlan"])
def test_it_is_there_on_trial_or_its_kernel_says_that_it_cannot(node: Subject, asked: links.LinkEnsure) -> None:
    give(node, "p0", "p1")
    before = host_now(node) if isinstance(node, AgentSubject) else []
    assert refusal(node, links.LinkConfirm(asked.name)) == "undone"
    if not can(node, asked.kind):
        assert refusal(node, asked) == "unsupported"
        assert host_now(node) == before  # type: ignore[arg-type]
        node.call(links.LinkRemove(asked.name))
        return
    made = node.call(asked)
    assert (made.name, made.confirm_within > 0) == (asked.name, asked.trial_seconds > 0)
    if isinstance(node, FakeSubject):
        node.node.end_trials()
        assert (asked.name in node.node.host_links) is not bool(asked.trial_seconds)
        node.call(asked)
        node.call(links.LinkConfirm(asked.name))
        node.node.end_trials()
        # Asked for again it is what it is, and for good.
        assert node.call(asked) == links.LinkMade(asked.name)
        over = links.LinkEnsure("over", "vlan", parent=asked.name, vlan=7)
        node.call(over)
        assert refusal(node, links.LinkRemove(asked.name)) == "in_use"
        node.call(links.LinkRemove("over"))
    node.call(links.LinkRemove(asked.name))
    node.call(links.LinkRemove(asked.name))
    if isinstance(node, AgentSubject):
        assert host_now(node) == before
    else:
        assert isinstance(node, FakeSubject) and node.node.host_links == ["p0", "p1"]


def test_a_bond_takes_ports_that_are_down_in_one_batch() -> None:
    assert lines(BOND) == [
        'link set dev bond0 alias "vmpanel link"',
        "link set dev p0 down",
        "link set dev p0 master bond0",
        "link set dev p1 down",
        "link set dev p1 master bond0",
        "link set dev bond0 up",
        "link set dev p0 up",
        "link set dev p1 up",
    ]
    assert lines(VLAN) == ['link set dev p0.40 alias "vmpanel link"', "link set dev p0.40 up"]
