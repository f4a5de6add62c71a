"""Bridges behave alike on the fake node and on the real agent, which has a network namespace of its own here."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.protocol import Nothing, audit, host, network, storage
from panel.core.errors import NodeError
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of, make_spec

ENSURE = network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24")
THERE = network.BridgeState("vmbr-nat0", True, [], ENSURE.gateway, ENSURE.subnet, nat=True)
pytestmark = pytest.mark.netns


def refusal(node: Subject, request: object) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)  # type: ignore[arg-type]
    return code_of(caught.value)


@pytest.mark.covers("bridge_ensure", "bridges_read", "bridge_remove")
def test_a_bridge_is_there_until_it_is_removed(node: Subject) -> None:
    for _ in range(2):
        assert node.call(ENSURE) == THERE
    assert node.call(network.BridgesRead()).bridges == [THERE]
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


def test_a_bridge_that_was_lost_is_made_again(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    node.agent.run_in_namespace("ip", "link", "delete", "vmbr-nat0")
    assert node.call(network.BridgesRead()).bridges == [replace(THERE, exists=False, lacks=["bridge"])]
    environment = [f"{name}={value}" for name, value in node.agent.environment.items() if name.startswith("VMPANEL_")]
    node.agent.run_in_namespace("env", *environment, "/usr/bin/python3", str(node.agent.zipapp), "--restore-network")
    assert node.call(network.BridgesRead()).bridges == [THERE]


def damage(node: Subject, fake: Callable[[FakeSubject], object], *commands: str) -> None:
    """What happens to the kernel's part behind the agent's back: to the fake, or by these commands."""
    if isinstance(node, FakeSubject):
        fake(node)
    elif isinstance(node, AgentSubject):
        for command in commands:
            node.agent.run_in_namespace(*command.split())


@pytest.mark.parametrize(
    ("fake", "command", "lacks"),
    [
        (
            lambda node: node.node.links.update({ENSURE.name: replace(ENSURE, gateway="10.77.0.9/24")}),
            "ip address flush dev vmbr-nat0",
            "address",
        ),
        (
            lambda node: node.node.links.update({ENSURE.name: replace(ENSURE, nat=False)}),
            "nft delete table inet vmpanel_vmbr_nat0",
            "rules",
        ),
        (
            lambda node: node.node.links.update({ENSURE.name: replace(ENSURE, subnet="10.0.0.0/8")}),
            "nft insert rule inet vmpanel_vmbr_nat0 postrouting accept",
            "rules",
        ),
    ],
)
def test_what_a_bridge_lacks_is_told_until_it_is_made_again(
    node: Subject, fake: Callable[[FakeSubject], object], command: str, lacks: str
) -> None:
    node.call(ENSURE)
    damage(node, fake, command)
    assert node.call(network.BridgesRead()).bridges == [replace(THERE, lacks=[lacks])]
    node.call(ENSURE)
    assert node.call(network.BridgesRead()).bridges == [THERE]


def test_the_kernel_s_own_part_of_a_bridge_is_told_of_too(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    node.agent.run_in_namespace("ip", "link", "set", "vmbr-nat0", "down")
    node.agent.run_in_namespace("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    assert node.call(network.BridgesRead()).bridges[0].lacks == ["forwarding", "up"]
    # Rules that masquerade for a bridge that shall have none are too many.
    node.call(replace(ENSURE, nat=False))
    assert node.call(network.BridgesRead()).bridges[0].lacks == []
    rules = "add table inet vmpanel_vmbr_nat0; add chain inet vmpanel_vmbr_nat0 postrouting"
    node.agent.run_in_namespace("nft", rules)
    assert node.call(network.BridgesRead()).bridges[0].lacks == ["rules"]


def test_a_bridge_that_is_left_over_is_known_by_its_make(node: Subject) -> None:
    node.call(ENSURE)
    if isinstance(node, FakeSubject):
        node.node.bridges.clear()
    elif isinstance(node, AgentSubject):
        (node.agent.root / "var/lib/vmpanel/bridges.json").unlink()
        node.agent.run_in_namespace("ip", "link", "add", "br-other", "type", "bridge")
        node.agent.run_in_namespace("nft", "add", "table", "inet", "other")
    left = network.BridgeState("vmbr-nat0", True, [], remembered=False)
    assert node.call(network.BridgesRead()).bridges == [left]
    if isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "delete", "vmbr-nat0")
        assert node.call(network.BridgesRead()).bridges == [replace(left, exists=False)]
    node.call(network.BridgeRemove(name="vmbr-nat0"))
    assert node.call(network.BridgesRead()).bridges == []


PORT = "tap525400123456"


def guarded(node: Subject) -> host.HostSpec:
    """A domain whose port is guarded."""
    spec = make_spec(node.pool)
    mine = replace(spec.interfaces[0], guarded=True, addresses=["10.77.0.11", "10.77.0.10"])
    spec = replace(spec, interfaces=[mine])
    node.call(host.HostCreate(spec=spec))
    return spec


def guards(node: Subject) -> list[network.GuardState]:
    """What the node says of guards."""
    return node.call(network.BridgesRead()).guards


def test_a_guard_is_told_of_as_long_as_its_domain(node: Subject) -> None:
    spec = guarded(node)
    mine = network.GuardState(PORT, spec.uuid, "52:54:00:12:34:56", ["10.77.0.10", "10.77.0.11"])
    other = replace(spec.interfaces[0], mac="52:54:00:00:00:02")
    second = make_spec(node.pool, interfaces=[other])
    node.call(host.HostCreate(spec=second))
    assert sorted(guards(node), key=lambda each: each.port)[1:] == [mine]
    assert {each.vm: each.in_force for each in guards(node)} == {spec.uuid: True, second.uuid: True}
    node.call(host.HostDelete(uuid=second.uuid))
    assert guards(node) == [mine]
    node.call(host.HostDelete(uuid=spec.uuid))
    assert guards(node) == []


DAMAGES = [
    "nft delete table bridge vmpanel_guard",
    f"nft flush chain bridge vmpanel_guard {PORT}",
    f"nft insert rule bridge vmpanel_guard {PORT} accept",
    "nft flush chain bridge vmpanel_guard prerouting",
    "nft insert rule bridge vmpanel_guard prerouting accept",
]


@pytest.mark.parametrize("command", DAMAGES)
def test_a_guard_that_the_kernel_does_not_have_as_remembered_is_not_in_force(node: Subject, command: str) -> None:
    spec = guarded(node)
    assert [each.in_force for each in guards(node)] == [True]
    damage(node, lambda fake: fake.node.rules.clear(), command)
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, False)]


@pytest.mark.parametrize("command", DAMAGES)
def test_a_domain_that_is_defined_anew_is_guarded_whatever_became_of_its_guard(node: Subject, command: str) -> None:
    spec = guarded(node)
    damage(node, lambda fake: fake.node.rules.clear(), command)
    node.call(host.HostCreate(spec=spec))
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, True)]


def test_a_guard_that_only_the_kernel_has_is_told_of(node: Subject) -> None:
    spec = guarded(node)
    stray = network.GuardState("tap525400000099")
    rules = f"nft add chain bridge vmpanel_guard {stray.port}"
    damage(node, lambda fake: fake.node.rules.update({stray.port: stray}), rules)
    assert {each.port: (each.vm, each.in_force) for each in guards(node)} == {
        PORT: (spec.uuid, True),
        stray.port: ("", True),
    }


def test_a_domain_that_is_repaired_is_guarded_again(node: Subject) -> None:
    spec = guarded(node)
    node.call(host.HostDelete(uuid=spec.uuid))
    assert guards(node) == []
    node.call(storage.VolumeCreate(volume=spec.disks[0].volume, size_bytes=1024**2))
    node.call(audit.HostRepair(spec=spec))
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, True)]


def two_guarded(node: Subject) -> tuple[host.HostSpec, host.HostSpec]:
    """Two domains whose ports are guarded, the second with an IPv6 address too."""
    first = guarded(node)
    other = replace(first.interfaces[0], mac="52:54:00:00:00:02", addresses=["10.77.0.12", "fd00::12"])
    second = make_spec(node.pool, interfaces=[other])
    node.call(host.HostCreate(spec=second))
    return first, second


def forget_guards(node: Subject) -> None:
    """What the node remembers of guards is lost; its kernel has them still."""
    if isinstance(node, FakeSubject):
        node.node.guards.clear()
    elif isinstance(node, AgentSubject):
        (node.agent.root / "var/lib/vmpanel/guards.json").unlink()


def rules_of(node: Subject) -> dict[str, object]:
    """The rules of each port in the kernel."""
    if isinstance(node, FakeSubject):
        return {port: (rule.mac, rule.addresses) for port, rule in node.node.rules.items()}
    assert isinstance(node, AgentSubject)
    shown = node.agent.run_in_namespace("nft", "list", "table", "bridge", "vmpanel_guard")
    return {part.split()[0]: part.partition("{")[2] for part in shown.split("chain ")[1:]}


def test_what_is_remembered_of_guards_may_be_lost_and_no_port_becomes_unguarded(node: Subject) -> None:
    first, _ = two_guarded(node)
    before = rules_of(node)
    forget_guards(node)
    node.call(host.HostCreate(spec=first))
    assert rules_of(node) == before
    # The second is the kernel's alone until the panel says again whose it is.
    assert {each.port: each.vm for each in guards(node)} == {PORT: first.uuid, "tap525400000002": ""}
    node.call(host.HostDelete(uuid=first.uuid))
    assert rules_of(node).keys() & {PORT, "tap525400000002"} == {"tap525400000002"}


@pytest.mark.covers("guards_ensure")
def test_the_panel_says_which_ports_are_guarded_and_which_no_more(node: Subject) -> None:
    first, second = two_guarded(node)
    told = guards(node)
    forget_guards(node)
    stray = network.GuardState("tap525400000099")
    damage(
        node,
        lambda fake: fake.node.rules.update({stray.port: stray}),
        f"nft add chain bridge vmpanel_guard {stray.port}",
    )
    wanted = [network.VmGuards(each.uuid, each.interfaces) for each in (first, second)]
    for _ in range(2):
        assert node.call(network.GuardsEnsure(guards=wanted, gone=[stray.port])) == Nothing()
        assert sorted(guards(node), key=str) == sorted(told, key=str)
    node.call(network.GuardsEnsure(guards=[network.VmGuards(second.uuid, [])], gone=[]))
    assert [each.vm for each in guards(node)] == [first.uuid]


def test_a_broken_record_of_guards_is_a_lost_one(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no files")
    first, _ = two_guarded(node)
    before = rules_of(node)
    (node.agent.root / "var/lib/vmpanel/guards.json").write_text('{"half')
    node.call(host.HostCreate(spec=first))
    assert rules_of(node) == before


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
