"""The kinds of networks that have a Linux bridge, beside nat: the fake and the real agent alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.protocol import Nothing, network
from tests.contract.bridges import far_end, refusal
from tests.contract.subjects import AgentSubject, FakeSubject, Subject

pytestmark = pytest.mark.netns
SIX = network.Subnet("2001:db8::/64")
ISOLATED = network.BridgeEnsure("vmbr-i", subnet="192.0.2.0/24", kind="isolated", further=[SIX], nat=False)

JOINED = network.BridgeEnsure(
    "Br_0.lan", subnet="203.0.113.0/24", kind="bridge", options={"bridge": "Br_0.lan"}, further=[SIX], nat=False
)


def state_of(asked: network.BridgeEnsure) -> network.BridgeState:
    """How a node tells of a network that is as it was asked for, with no guest."""
    fields = {name: getattr(asked, name) for name in ("name", "gateway", "subnet", "nat", "kind", "options", "further")}
    return network.BridgeState(**fields, exists=True, ports=[])


def restore(node: Subject) -> None:
    """What the node's start does."""
    if isinstance(node, FakeSubject):
        node.node.restore_network()
    elif isinstance(node, AgentSubject):
        settings = [f"{name}={value}" for name, value in node.agent.environment.items() if name.startswith("VMPANEL_")]
        argv = ("/usr/bin/python3", str(node.agent.zipapp), "--restore-network")
        node.agent.run_in_namespace("env", *settings, *argv)


def host_now(node: AgentSubject) -> list[str]:
    """All that the host has of interfaces, addresses, routes and rules; not whether a cable has just been seen."""
    shown = node.agent.run_in_namespace
    brief = [line.split() for each in ("link", "address") for line in shown("ip", "-br", each).splitlines()]
    links = [" ".join([*words[:1], *(each for each in words[2:] if "<" not in each)]) for words in brief]
    routes = [shown("ip", family, "route", "show", "table", "all").splitlines() for family in ("-4", "-6")]
    kept = [line.replace(" linkdown", "").rstrip() for lines in routes for line in lines]
    return sorted([*links, *kept, *shown("nft", "list", "ruleset").splitlines()])


def give_bridge(node: Subject, name: str) -> None:
    """The host has a bridge of its own, with an address and another interface of the host's in it."""
    if isinstance(node, FakeSubject):
        node.node.host_bridges.append(name)
    elif isinstance(node, AgentSubject):
        for command in (
            f"link add {name} type bridge forward_delay 0",
            f"link set {name} up",
            f"address add 203.0.113.5/24 dev {name}",
            "link add lan0 type veth peer name lan1",
            f"link set lan0 up master {name}",
            "link set lan1 up",
        ):
            node.agent.run_in_namespace("ip", *command.split())


def take_bridge(node: Subject, name: str) -> None:
    """It is gone."""
    if isinstance(node, FakeSubject):
        node.node.host_bridges.remove(name)
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "delete", name)


def test_a_bridge_of_the_host_s_own_is_joined_and_left_alone(node: Subject) -> None:
    assert refusal(node, JOINED) == "no_such_interface"
    assert node.call(network.BridgesRead()).bridges == []
    give_bridge(node, "Br_0.lan")
    before = host_now(node) if isinstance(node, AgentSubject) else []
    for _ in range(2):
        assert node.call(JOINED) == state_of(JOINED)
    restore(node)
    assert node.call(network.BridgesRead()).bridges == [state_of(JOINED)]
    assert not isinstance(node, AgentSubject) or host_now(node) == before
    take_bridge(node, "Br_0.lan")
    gone = replace(state_of(JOINED), exists=False, lacks=["bridge"])
    assert node.call(network.BridgesRead()).bridges == [gone]
    restore(node)
    assert refusal(node, JOINED) == "no_such_interface"
    assert node.call(network.BridgesRead()).bridges == [gone]
    node.call(network.BridgeRemove("Br_0.lan"))
    assert node.call(network.BridgesRead()).bridges == []


def test_a_bridge_of_ours_is_no_host_s_own(node: Subject) -> None:
    node.call(ISOLATED)
    assert refusal(node, replace(JOINED, name="vmbr-x", options={"bridge": "vmbr-x"})) == "no_such_interface"
    wrong = ({}, {"bridge": "br1"}, {"bridge": "Br_0.lan", "vlan": "1"})
    assert {refusal(node, replace(JOINED, options=each)) for each in wrong} == {"invalid_params"}
    for name in ("", "a b", "x/y", "-x", "sixteen-letters-"):
        assert refusal(node, replace(JOINED, name=name, options={"bridge": name})) == "invalid_params"


@pytest.mark.parametrize("asked", [ISOLATED])
def test_a_network_is_there_made_again_and_removed(node: Subject, asked: network.BridgeEnsure) -> None:
    before = host_now(node) if isinstance(node, AgentSubject) else []
    for _ in range(2):
        assert node.call(asked) == state_of(asked)
    if isinstance(node, FakeSubject):
        node.node.links.clear()
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "delete", asked.name)
    assert node.call(network.BridgesRead()).bridges == [replace(state_of(asked), exists=False, lacks=["bridge"])]
    restore(node)
    assert node.call(network.BridgesRead()).bridges == [state_of(asked)]
    for _ in range(2):
        assert node.call(network.BridgeRemove(asked.name)) == Nothing()
    assert node.call(network.BridgesRead()).bridges == []
    assert not isinstance(node, AgentSubject) or host_now(node) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": {"vlan": "5"}},
        {"subnet": "somewhere"},
        {"gateway": "192.0.2.1/24"},
        {"further": [network.Subnet("2001:db8::/64", "2001:db8::1/64")]},
    ],
)
def test_an_isolated_network_has_no_options_and_no_gateway_on_the_node(node: Subject, wrong: dict[str, object]) -> None:
    assert refusal(node, replace(ISOLATED, **wrong)) == "invalid_params"  # type: ignore[arg-type]
    assert node.call(network.BridgesRead()).bridges == []


def test_guests_of_an_isolated_network_do_not_reach_the_node(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    agent, own, six = node.agent, "198.51.100.1", "2001:db8:9::1"
    agent.run_in_namespace("ip", "link", "set", "lo", "up")
    for address in (own, six):
        agent.run_in_namespace("ip", "address", "add", address, "dev", "lo")
    node.call(ISOLATED)
    with far_end(node, "guest0", "192.0.2.9/24", "2001:db8::9/64") as guest:
        agent.run_in_namespace("ip", "link", "set", "guest0", "master", "vmbr-i")
        agent.run_in_namespace("ip", "route", "add", "192.0.2.0/24", "dev", "vmbr-i")
        guest.run("ip", "route", "add", "default", "dev", "far0")
        guest.run("ip", "-6", "route", "add", "default", "dev", "far0")
        assert not guest.reaches(own) and not guest.reaches(six)
        for family in ("inet", "arp"):
            agent.run_in_namespace("nft", "delete", "table", family, "vmpanel_vmbr_i")
        # The rules it was: without them a guest is answered though the bridge has no address.
        assert guest.reaches(own)
        assert node.call(network.BridgesRead()).bridges[0].lacks == ["rules"]
        node.call(ISOLATED)
        agent.run_in_namespace("sysctl", "-q", "-w", "net.ipv6.conf.vmbr-i.disable_ipv6=0")
        agent.run_in_namespace("ip", "address", "add", "192.0.2.1/24", "dev", "vmbr-i")
        assert node.call(network.BridgesRead()).bridges[0].lacks == ["apart"]
        assert node.call(ISOLATED).lacks == []
