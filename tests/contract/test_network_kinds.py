"""What every kind of network does, on a kind that is one file: the fake and the real agent alike."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import Nothing, network
from tests.contract.bridges import damage, refusal
from tests.contract.subjects import AgentSubject, FakeSubject, Subject
from tests.kinds import memory_network_agent

SIX = network.Subnet("2001:db8::/64")
ENSURE = network.BridgeEnsure(
    "vmbr-m", subnet="192.0.2.0/24", kind="memory", options={"wire": "a"}, further=[SIX], nat=False
)
THERE = network.BridgeState(
    "vmbr-m", True, [], subnet="192.0.2.0/24", kind="memory", options={"wire": "a"}, further=[SIX]
)


@pytest.fixture(params=["fake", "agent"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """A node that has one file more than ours."""
    subject: Subject = FakeSubject()
    if request.param == "agent":
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        subject = AgentSubject(tmp_path / "agent", netns=True)
        own = tmp_path / "agent/root/etc/vmpanel/network"
        own.mkdir(parents=True)
        shutil.copy(memory_network_agent.__file__, own / "memory.py")
        (own / "memory.py").chmod(0o600)
        (own / "broken.py").write_text("raise ValueError")
    try:
        yield subject
    finally:
        if isinstance(subject, AgentSubject):
            subject.agent.stop()


def test_a_network_is_there_until_it_is_removed(node: Subject) -> None:
    for _ in range(2):
        assert node.call(ENSURE) == THERE
    assert node.call(network.BridgesRead()).bridges == [THERE]
    for _ in range(2):
        assert node.call(network.BridgeRemove("vmbr-m")) == Nothing()
    assert node.call(network.BridgesRead()).bridges == []


def test_a_network_has_the_options_and_subnets_that_its_kind_can(node: Subject) -> None:
    for wrong in ({"options": {}}, {"kind": "unknown"}, {"subnet": "somewhere"}, {"name": "UPPER"}):
        assert refusal(node, dataclasses.replace(ENSURE, **wrong)) == "invalid_params"
    assert node.call(network.BridgesRead()).bridges == []


def test_networks_of_two_kinds_are_on_a_node(node: Subject) -> None:
    nat = network.BridgeEnsure("vmbr-nat0", "10.77.0.1/24", "10.77.0.0/24")
    node.call(nat)
    node.call(ENSURE)
    assert [each.kind for each in node.call(network.BridgesRead()).bridges] == ["memory", "nat"]
    node.call(network.BridgeRemove("vmbr-nat0"))
    assert node.call(network.BridgesRead()).bridges == [THERE]


@pytest.mark.parametrize("further", [[SIX], [network.Subnet("10.78.0.0/24")]])
def test_a_subnet_behind_nat_is_of_ipv4_and_has_its_gateway(node: Subject, further: list[network.Subnet]) -> None:
    wrong = network.BridgeEnsure("vmbr-nat0", "10.77.0.1/24", "10.77.0.0/24", further=further)
    assert refusal(node, wrong) == "invalid_params"


def test_nat_has_several_subnets_and_sheds_those_that_it_has_no_more(node: Subject) -> None:
    more = network.Subnet("10.78.0.0/24", "10.78.0.1/24")
    one = network.BridgeEnsure("vmbr-nat0", "10.77.0.1/24", "10.77.0.0/24")
    state = node.call(dataclasses.replace(one, further=[more]))
    assert state.further == [more] and node.call(network.BridgesRead()).bridges == [state]
    damage(node, lambda fake: None, "ip address add 192.0.2.9/32 dev vmbr-nat0")
    assert node.call(one).further == []
    if isinstance(node, AgentSubject):
        shown = json.loads(node.agent.run_in_namespace("ip", "-4", "-j", "address", "show", "dev", "vmbr-nat0"))
        # What somebody added by hand stays.
        assert {each["local"] for each in shown[0]["addr_info"]} == {"10.77.0.1", "192.0.2.9"}
