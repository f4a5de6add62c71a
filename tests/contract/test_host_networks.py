"""What the host itself has of networks, bridges, rules and forwarding stays as its administrator made it."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import replace

import pytest

from nodeagent.protocol import host, network
from panel.core.errors import NodeError
from tests.contract.bridges import ENSURE, THERE, guarded
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of

pytestmark = pytest.mark.netns


def give_host(node: Subject, address: str, route: str = "") -> None:
    """The host has an interface “lan0” of its own with this address and a route."""
    if isinstance(node, FakeSubject):
        subnet = str(ipaddress.IPv4Interface(address).network)
        node.node.host_links.append("lan0")
        node.node.host_networks.append(network.HostNetwork(subnet, f"the address {address} of lan0"))
        if route:
            node.node.host_networks.append(network.HostNetwork(route, f"the route to {route} by lan0"))
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        node.agent.run_in_namespace("ip", "address", "add", address, "dev", "lan0")
        for each in ("lan0", "lan1"):
            node.agent.run_in_namespace("ip", "link", "set", each, "up")
        for each in filter(None, (route, "default")):
            node.agent.run_in_namespace("ip", "route", "add", each, "dev", "lan0")


@pytest.mark.covers("networks_read")
def test_what_the_host_has_of_networks_is_told_without_what_we_made(node: Subject) -> None:
    give_host(node, "10.76.0.5/24", "10.99.0.0/16")
    node.call(ENSURE)
    told = node.call(network.NetworksRead())
    assert {each.network: each.how for each in told.networks if not each.network.startswith("127.")} == {
        "10.76.0.0/24": "the address 10.76.0.5/24 of lan0",
        "10.99.0.0/16": "the route to 10.99.0.0/16 by lan0",
    }
    assert set(told.links) - {"lo", "lan1"} == {"lan0"}


@pytest.mark.parametrize(
    ("address", "route", "how"),
    [
        ("10.77.0.5/24", "", "the address 10.77.0.5/24 of lan0"),
        ("10.77.3.5/16", "", "the address 10.77.3.5/16 of lan0"),
        ("192.168.3.5/24", "10.77.0.128/25", "the route to 10.77.0.128/25 by lan0"),
    ],
)
def test_a_network_that_overlaps_the_host_s_own_is_refused_by_name_before_anything_is_made(
    node: Subject, address: str, route: str, how: str
) -> None:
    give_host(node, address, route)
    with pytest.raises(NodeError, match=f"10.77.0.0/24 overlaps {how}") as caught:
        node.call(ENSURE)
    assert code_of(caught.value) == "exists"
    assert node.call(network.BridgesRead()).bridges == []
    node.call(replace(ENSURE, gateway="10.78.0.1/24", subnet="10.78.0.0/24"))


def test_what_comes_to_overlap_a_bridge_that_has_guests_is_told_and_the_bridge_is_kept(node: Subject) -> None:
    node.call(ENSURE)
    give_host(node, "10.77.0.5/24")
    assert node.call(ENSURE) == replace(THERE, overlaps=["the address 10.77.0.5/24 of lan0"])


def make_his(node: Subject) -> None:
    """The administrator has a bridge with the name that ours would have."""
    if isinstance(node, FakeSubject):
        node.node.host_links.append("vmbr-nat0")
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "add", "vmbr-nat0", "type", "bridge")
        node.agent.run_in_namespace("ip", "address", "add", "10.5.0.1/24", "dev", "vmbr-nat0")


def test_a_bridge_of_the_administrator_s_with_our_name_stays_his(node: Subject) -> None:
    make_his(node)
    with pytest.raises(NodeError, match="an interface “vmbr-nat0” of its own") as caught:
        node.call(ENSURE)
    assert code_of(caught.value) == "exists"
    assert node.call(network.NetworksRead()).links.count("vmbr-nat0") == 1
    node.call(network.BridgeRemove(name="vmbr-nat0"))
    if isinstance(node, AgentSubject):
        shown = json.loads(node.agent.run_in_namespace("ip", "-j", "address", "show", "dev", "vmbr-nat0"))[0]
        assert [each["local"] for each in shown["addr_info"] if each["family"] == "inet"] == ["10.5.0.1"]
    # Restored by us he would have ours instead of his.
    assert node.call(network.BridgesRead()).bridges == []


def test_a_bridge_of_ours_is_ours_whatever_mac_somebody_gave_it(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    node.agent.run_in_namespace("ip", "link", "set", "dev", "vmbr-nat0", "address", "52:54:00:11:22:33")
    assert node.call(ENSURE) == THERE
    node.call(network.BridgeRemove(name="vmbr-nat0"))
    assert "vmbr-nat0" not in node.agent.run_in_namespace("ip", "link")


@pytest.mark.parametrize("before", ["0", "1"])
def test_forwarding_is_as_it_was_when_the_last_bridge_is_gone(node: Subject, before: str) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    agent = node.agent
    agent.run_in_namespace("sysctl", "-q", "-w", f"net.ipv4.ip_forward={before}")
    other = network.BridgeEnsure(name="vmbr1", gateway="10.78.0.1/24", subnet="10.78.0.0/24")
    for each in (ENSURE, other, ENSURE):
        node.call(each)
    node.call(network.BridgeRemove(name="vmbr1"))
    assert agent.run_in_namespace("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
    for _ in range(2):
        node.call(network.BridgeRemove(name="vmbr-nat0"))
    assert agent.run_in_namespace("sysctl", "-n", "net.ipv4.ip_forward") == f"{before}\n"
    assert not (agent.root / "var/lib/vmpanel/forwarding.json").exists()


def test_rules_of_the_administrator_s_stay_as_they_are(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    his = "add table inet his; add chain inet his forward { type filter hook forward priority 0; policy drop; }"
    node.agent.run_in_namespace("nft", his)
    before = node.agent.run_in_namespace("nft", "list", "ruleset")
    guarded(node)
    node.call(ENSURE)
    node.call(network.BridgeRemove(name="vmbr-nat0"))
    node.call(host.HostDelete(uuid=node.call(host.HostsRead()).hosts[0].uuid))
    assert node.agent.run_in_namespace("nft", "list", "ruleset") == before


def test_a_firewall_that_forwards_nothing_for_guests_is_told_until_it_does(node: Subject) -> None:
    assert node.call(ENSURE).barriers == []
    his = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    more = "add rule ip filter FORWARD iifname docker0 accept; add rule ip filter FORWARD ct state established accept"
    if isinstance(node, FakeSubject):
        node.node.barriers = ["ip filter FORWARD"]
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("nft", his)
        node.agent.run_in_namespace("nft", more)
    assert node.call(ENSURE).barriers == ["ip filter FORWARD"]
    if isinstance(node, FakeSubject):
        node.node.barriers = []
    elif isinstance(node, AgentSubject):
        node.agent.run_in_namespace("nft", 'add rule ip filter FORWARD iifname "vmbr-*" accept')
    assert node.call(ENSURE).barriers == []


def test_a_full_disk_is_told_with_where_it_is_and_nothing_partial_is_left(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no disk")
    state = node.agent.root / "var/lib/vmpanel"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=17m", "tmpfs", str(state)], check=True)
    try:
        with pytest.raises(OSError, match="No space left"), (state / "big").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        for _ in range(2):
            with pytest.raises(NodeError, match=rf"no space left on the node: {state} has 0 MiB free\.") as caught:
                node.call(ENSURE)
            assert code_of(caught.value) == "no_space"
            assert [each.name for each in state.iterdir()] == ["big"]
        (state / "big").unlink()
        assert node.call(ENSURE) == THERE
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
