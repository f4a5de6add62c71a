"""What guests reach of their node and of its network, on the fake node and with real traffic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.protocol import host, network
from tests.contract.bridges import ENSURE, PORT, THERE, far_end, refusal
from tests.contract.subjects import AgentSubject, Subject, make_spec

pytestmark = pytest.mark.netns
ISOLATED = network.BridgeEnsure("vmbr-i", kind="isolated", nat=False)


def test_guests_begin_nothing_with_the_node_and_what_they_are_kept_from_until_that_is_opened(node: Subject) -> None:
    closed = replace(ENSURE, kept_from=["192.0.2.5", "2001:db8::5", "192.0.2.5"])
    there = replace(THERE, kept_from=closed.kept_from)
    assert node.call(closed) == there, "its rules are no barrier"
    assert node.call(network.BridgesRead()).bridges == [there]
    if isinstance(node, AgentSubject):
        assert reached(node) == {
            **{"node": [False] * 3, "dns": [True] * 2, "dns elsewhere": False, "ping": True},
            **{"panel": False, "world": True},
        }
    assert node.call(ENSURE) == THERE
    assert node.call(network.BridgesRead()).bridges == [THERE]
    if isinstance(node, AgentSubject):
        assert reached(node) == {
            **{"node": [True] * 3, "dns": [True] * 2, "dns elsewhere": True, "ping": True},
            **{"panel": True, "world": True},
        }
    # Also where nothing is masked.
    bare = replace(closed, nat=False)
    assert node.call(bare).kept_from == closed.kept_from
    assert node.call(network.BridgesRead()).bridges[0].lacks == []


def reached(node: AgentSubject) -> dict[str, object]:
    """What a guest at the bridge reaches, and what is reached of it."""
    program = str(Path(__file__).with_name("guest_and_world.py"))
    return dict(json.loads(node.agent.run_in_namespace("python3", program, ENSURE.name, "10.77.0.1", "10.77.0.9")))


@pytest.mark.parametrize("address", ["", "192.0.2.0/24", "panel.example.com", "192.0.2.1 } accept"])
def test_what_guests_are_kept_from_are_addresses(node: Subject, address: str) -> None:
    assert refusal(node, replace(ENSURE, kept_from=[address])) == "invalid_params"
    assert node.call(network.BridgesRead()).bridges == []


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_a_guest_answers_in_a_network_that_the_node_is_not_in(node: Subject, address: str) -> None:
    node.call(ISOLATED)
    spec = make_spec(node.pool)
    mine = replace(spec.interfaces[0], bridge=ISOLATED.name, guarded=True, addresses=[address])
    node.call(host.HostCreate(spec=replace(spec, interfaces=[mine])))
    node.call(host.HostStart(uuid=spec.uuid))
    wait = host.GuestWait(uuid=spec.uuid, address=address, port=22, timeout_seconds=0.1)
    node.silence_guest(spec.uuid)
    assert refusal(node, wait) == "deadline"
    if isinstance(node, AgentSubject):
        with far_end(node, PORT, "192.0.2.9/24", "2001:db8::9/64") as guest:
            node.agent.run_in_namespace("ip", "link", "set", PORT, "master", ISOLATED.name)
            assert node.call(wait).seconds < 2
            guest.run("ip", "address", "flush", "dev", "far0")
            assert refusal(node, wait) == "deadline"
