"""Bridges behave alike on the fake node and on the real agent, which has a network namespace of its own here."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from nodeagent.protocol import Nothing, network
from panel.core.errors import NodeError
from tests.contract.subjects import AgentSubject, Subject, code_of

ENSURE = network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24")
pytestmark = pytest.mark.netns


def refusal(node: Subject, request: object) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)  # type: ignore[arg-type]
    return code_of(caught.value)


@pytest.mark.covers("bridge_ensure", "bridges_read", "bridge_remove")
def test_a_bridge_is_there_until_it_is_removed(node: Subject) -> None:
    for _ in range(2):
        assert node.call(ENSURE) == network.BridgeState("vmbr-nat0", True, [])
    assert node.call(network.BridgesRead()).bridges == [network.BridgeState("vmbr-nat0", True, [])]
    for _ in range(2):
        assert node.call(network.BridgeRemove(name="vmbr-nat0")) == Nothing()
    assert node.call(network.BridgesRead()).bridges == []


def test_bridges_made_and_removed_at_the_same_time_do_not_disturb_each_other(node: Subject) -> None:
    mine = [
        network.BridgeEnsure(name=f"vmbr-{each}", gateway=f"10.78.{each}.1/24", subnet=f"10.78.{each}.0/24")
        for each in range(6)
    ]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(node.call, mine * 2))
        assert [bridge.name for bridge in node.call(network.BridgesRead()).bridges] == [each.name for each in mine]
        list(threads.map(node.call, [network.BridgeRemove(name=each.name) for each in mine] * 2))
    assert node.call(network.BridgesRead()).bridges == []


def test_a_bridge_with_guests_is_not_removed(node: Subject) -> None:
    node.call(ENSURE)
    node.join_guest("vmbr-nat0")
    assert len(node.call(ENSURE).ports) == 1
    assert refusal(node, network.BridgeRemove(name="vmbr-nat0")) == "in_use"
    node.leave_guest("vmbr-nat0")
    node.call(network.BridgeRemove(name="vmbr-nat0"))


@pytest.mark.parametrize("name", ["", "UPPER", "a name", "sixteen-letters-", "br0; reboot", "-x", "../x"])
def test_a_bridge_s_name_is_short_and_plain(node: Subject, name: str) -> None:
    bad = network.BridgeEnsure(name=name, gateway="10.77.0.1/24", subnet="10.77.0.0/24")
    assert refusal(node, bad) == "invalid_params"
    assert refusal(node, network.BridgeRemove(name=name)) == "invalid_params"


@pytest.mark.parametrize(
    ("gateway", "subnet"),
    [
        ("10.78.0.1/24", "10.77.0.0/24"),
        ("10.77.0.1/24", "10.77.0.1/24"),
        ("gateway", "10.77.0.0/24"),
        ("10.77.0.1/24", '10.77.0.0/24 oifname "x"'),
        ("fd00::1/64", "fd00::/64"),
    ],
)
def test_a_bridge_has_a_gateway_in_its_ipv4_subnet(node: Subject, gateway: str, subnet: str) -> None:
    assert refusal(node, network.BridgeEnsure(name="vmbr0", gateway=gateway, subnet=subnet)) == "invalid_params"
    assert node.call(network.BridgesRead()).bridges == []


def test_the_kernel_has_the_address_the_forwarding_and_the_rules(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    shown = json.loads(node.agent.run_in_namespace("ip", "-j", "address", "show", "dev", "vmbr-nat0"))[0]
    assert "10.77.0.1" in [each["local"] for each in shown["addr_info"]]
    assert node.agent.run_in_namespace("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    rules = node.agent.run_in_namespace("nft", "list", "ruleset")
    assert rules.count('ip saddr 10.77.0.0/24 oifname != "vmbr-nat0" masquerade') == 1
    node.call(network.BridgeRemove(name="vmbr-nat0"))
    assert node.agent.run_in_namespace("nft", "list", "ruleset") == ""


def test_a_bridge_that_was_lost_is_made_again(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    node.agent.run_in_namespace("ip", "link", "delete", "vmbr-nat0")
    assert node.call(network.BridgesRead()).bridges == [network.BridgeState("vmbr-nat0", False, [])]
    environment = [f"{name}={value}" for name, value in node.agent.environment.items() if name.startswith("VMPANEL_")]
    node.agent.run_in_namespace("env", *environment, "/usr/bin/python3", str(node.agent.zipapp), "--restore-network")
    assert node.call(network.BridgesRead()).bridges == [network.BridgeState("vmbr-nat0", True, [])]
