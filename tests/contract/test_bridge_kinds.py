"""The kinds of networks that have a Linux bridge, beside nat: the fake and the real agent alike."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import pytest

from nodeagent.protocol import Nothing, host, network
from panel.core.errors import CommandFailed, NodeUnreachable
from tests.contract.bridges import far_end, refusal
from tests.contract.local_agent import until
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of, make_spec

pytestmark = pytest.mark.netns
SIX = network.Subnet("2001:db8::/64")
ISOLATED = network.BridgeEnsure("vmbr-i", subnet="192.0.2.0/24", kind="isolated", further=[SIX], nat=False)

TAKEN = network.BridgeEnsure(
    "vmbr-b", subnet="203.0.113.0/24", kind="bridge", options={"uplink": "up0"}, further=[SIX], nat=False
)
ROUTED = network.BridgeEnsure(
    "vmbr-r",
    "169.254.1.1/32",
    "203.0.113.64/26",
    kind="routed",
    options={"uplink": "up0", "proxy": "on"},
    further=[network.Subnet("2001:db8:1::/64", "fe80::1/64")],
    nat=False,
)
VLAN = network.BridgeEnsure("vmbr-v", kind="vlan", options={"uplink": "up0", "vlan": "77"}, nat=False)
ACROSS = network.BridgeEnsure(
    "vmbr-x",
    subnet="192.0.2.0/24",
    kind="vxlan",
    options={"vni": "7777", "local": "10.5.0.1", "peers": "10.5.0.2,10.5.0.3"},
    nat=False,
)
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
    """All that the host has of interfaces, addresses, routes and rules; not what comes by itself, and when it likes."""
    shown = node.agent.run_in_namespace
    brief = [line.split() for each in ("link", "address") for line in shown("ip", "-br", each).splitlines()]
    links = [
        " ".join([*words[:1], *(each for each in words[2:] if not each.startswith(("<", "fe80")))]) for words in brief
    ]
    routes = [line for each in ("-4", "-6") for line in shown("ip", each, "route", "show", "table", "all").splitlines()]
    kept = [line.replace(" linkdown", "").rstrip() for line in routes if not re.search("fe80|ff00|anycast", line)]
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
    wrong: tuple[dict[str, str], ...] = ({}, {"bridge": "br1"}, {"bridge": "Br_0.lan", "vlan": "1"})
    assert {refusal(node, replace(JOINED, options=each)) for each in wrong} == {"invalid_params"}
    for name in ("", "a b", "x/y", "-x", "sixteen-letters-"):
        assert refusal(node, replace(JOINED, name=name, options={"bridge": name})) == "invalid_params"


def give_uplink(node: Subject) -> None:
    """The host has an interface up0 with all that an administrator, DHCP and routers may have given it."""
    if isinstance(node, FakeSubject):
        node.node.host_links.append("up0")
    elif isinstance(node, AgentSubject):
        # No address waits to be found free of others, and the far end has none.
        node.agent.run_in_namespace("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        for command in (
            "link add up0 type veth peer name up1",
            "link set up1 addrgenmode none",
            "link set up0 up",
            "link set up1 up",
            "address add 203.0.113.5/24 dev up0 valid_lft 3000 preferred_lft 2000",
            "address add 203.0.113.6/24 dev up0 label up0:1 noprefixroute",
            "address add 10.9.9.1 peer 10.9.9.2/32 dev up0",
            "address add 2001:db8::5/64 dev up0 nodad",
            "route add default via 203.0.113.1 dev up0 metric 100 mtu 1400",
            "route add 198.51.100.0/24 via 203.0.113.9 dev up0 src 203.0.113.6 table 77",
            "-6 route add default via fe80::1 dev up0 proto ra expires 3000",
        ):
            node.agent.run_in_namespace("ip", *command.split())
        until(lambda: "tentative" not in node.agent.run_in_namespace("ip", "address", "show", "dev", "up0"))


def of_uplink(node: Subject, name: str = "up0") -> list[str]:
    """What the interface has of addresses and routes, its name left out, and seconds that pass."""
    if not isinstance(node, AgentSubject):
        return []
    shown = node.agent.run_in_namespace
    parts = [["-o", "address", "show"], *(["-" + each, "route", "show", "table", "all"] for each in "46")]
    until(lambda: "tentative" not in shown("ip", "address", "show", "dev", name))
    lines = [line for part in parts for line in shown("ip", *part, "dev", name).splitlines()]
    kept = [re.sub(r"^\d+: |\b\d{3,4}sec|linkdown|secondary|nodad", "", line.replace(name, "IF")) for line in lines]
    return sorted(" ".join(each.split()) for each in kept if "multicast" not in each)


def test_an_uplink_is_taken_in_with_all_that_it_has_and_given_back(node: Subject) -> None:
    give_uplink(node)
    before = of_uplink(node)
    for _ in range(2):
        assert node.call(TAKEN) == state_of(TAKEN)
    assert node.call(network.BridgesRead()).bridges == [state_of(TAKEN)]
    assert of_uplink(node, "vmbr-b") == before and not [each for each in of_uplink(node) if "inet" in each]
    if isinstance(node, AgentSubject):
        networks = {each.network for each in node.call(network.NetworksRead()).networks}
        assert networks >= {"203.0.113.0/24", "10.9.9.2/32"}, "they are the host's own all the same"
        # Its DHCP client renews what it has, and its administrator takes the bridge away.
        node.agent.run_in_namespace("ip", "address", "add", "203.0.113.7/24", "dev", "up0")
        assert node.call(network.BridgesRead()).bridges[0].lacks == ["uplink"]
        assert node.call(TAKEN).lacks == []
        assert any("203.0.113.7" in each for each in of_uplink(node, "vmbr-b"))
        node.agent.run_in_namespace("ip", "address", "delete", "203.0.113.7/24", "dev", "vmbr-b")
        node.agent.run_in_namespace("ip", "link", "delete", "vmbr-b")
        restore(node)
        assert of_uplink(node, "vmbr-b") == before
    node.call(network.BridgeRemove("vmbr-b"))
    assert of_uplink(node) == before
    assert node.call(network.BridgesRead()).bridges == []
    assert not isinstance(node, AgentSubject) or not (node.agent.root / "var/lib/vmpanel/uplinks.json").exists()


TRIED = replace(TAKEN, trial_seconds=20.0)
CUT_SHORT = """#!/bin/sh
case " $* " in *" -batch "*) ;; *) exec {ip} "$@";; esac
head -n {lines} | {ip} -batch -; rm "$0"; kill -KILL $PPID
"""
"""`ip` for an agent that dies by SIGKILL in the middle of the move, once."""


def reconnect(node: Subject) -> None:
    """The panel's next request comes over a new connection, to an agent in the same network namespace."""
    if isinstance(node, AgentSubject):
        node.agent.hold_namespace()
        node.agent.close()


@pytest.mark.covers("bridge_confirm")
def test_what_is_confirmed_over_a_new_connection_stays(node: Subject) -> None:
    assert refusal(node, network.BridgeConfirm("vmbr-b")) == "undone"
    give_uplink(node)
    before = of_uplink(node)
    assert 0 < node.call(TRIED).confirm_within <= 20
    assert 0 < node.call(TRIED).confirm_within <= 20, "a step may be repeated"
    if isinstance(node, AgentSubject):
        assert refusal(node, network.BridgeConfirm("vmbr-b")) == "undone", "by who took it"
    reconnect(node)
    for _ in range(2):
        node.call(network.BridgeConfirm("vmbr-b"))
    assert node.call(network.BridgesRead()).bridges == [state_of(TAKEN)]
    assert node.call(TRIED).confirm_within == 0
    assert of_uplink(node, "vmbr-b") == before
    node.call(network.BridgeRemove("vmbr-b"))
    assert of_uplink(node) == before


def test_what_nobody_confirms_is_given_back(node: Subject) -> None:
    give_uplink(node)
    before = of_uplink(node)
    assert node.call(replace(TAKEN, trial_seconds=0.5)).confirm_within > 0
    if isinstance(node, FakeSubject):
        node.node.end_trials()
    until(lambda: not node.call(network.BridgesRead()).bridges)
    assert of_uplink(node) == before
    assert refusal(node, network.BridgeConfirm("vmbr-b")) == "undone"
    assert node.call(TAKEN) == state_of(TAKEN)


@pytest.mark.parametrize("lines", [4, 99])
def test_an_agent_that_is_killed_in_the_middle_leaves_the_host_reachable(node: Subject, lines: int) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    programs = node.agent.folder / "programs"
    programs.mkdir()
    node.agent.more_environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    node.agent.close()
    give_uplink(node)
    node.agent.hold_namespace()
    before, program = of_uplink(node), programs / "ip"
    program.write_text(CUT_SHORT.format(lines=lines, ip=shutil.which("ip")))
    program.chmod(0o755)
    with pytest.raises(NodeUnreachable):
        node.call(replace(TAKEN, trial_seconds=1.0))
    assert not program.exists()
    until(lambda: not (node.agent.root / "var/lib/vmpanel/uplinks.json").exists())
    assert of_uplink(node) == before
    assert node.call(network.BridgesRead()).bridges == []


def test_a_move_that_was_under_way_at_the_host_s_end_is_undone_at_its_start(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    give_uplink(node)
    before = of_uplink(node)
    node.call(replace(TAKEN, trial_seconds=60.0))
    # The host starts anew: its own files give the interface what it has, and nobody minds the move.
    document = node.agent.root / "var/lib/vmpanel/uplinks.json"
    records = json.loads(document.read_text())
    records["vmbr-b"]["boot"] = "another"
    document.write_text(json.dumps(records))
    restore(node)
    assert of_uplink(node) == before
    assert node.call(network.BridgesRead()).bridges == [] and not document.exists()


def test_an_interface_that_cannot_be_taken_in_is_refused_and_nothing_is_touched(node: Subject) -> None:
    give_uplink(node)
    assert refusal(node, replace(TAKEN, options={"uplink": "up9"})) == "no_such_interface"
    if isinstance(node, AgentSubject):
        for command in (
            "link add br9 type bridge",
            "tuntap add tap9 mode tap",
            "link add up2 type veth peer name up3",
            "link set up2 master br9",
            "link add up4 type veth peer name up5",
            "link set up4 up",
            "address add 192.0.2.1/24 dev up4",
            "route add 198.51.100.128/25 nexthop via 192.0.2.8 dev up4 nexthop via 192.0.2.9 dev up4",
        ):
            node.agent.run_in_namespace("ip", *command.split())
        before = host_now(node)
        codes = {
            "lo": "unsupported",
            "br9": "unsupported",
            "tap9": "unsupported",
            "up2": "in_use",
            "up4": "unsupported",
        }
        for uplink, code in codes.items():
            assert refusal(node, replace(TAKEN, options={"uplink": uplink})) == code, uplink
        assert host_now(node) == before
    assert node.call(network.BridgesRead()).bridges == []


def test_a_bridge_has_one_uplink_or_is_the_host_s_own(node: Subject) -> None:
    for options in ({}, {"uplink": ""}, {"uplink": "a b"}, {"uplink": "up0", "bridge": "vmbr-b"}):
        assert refusal(node, replace(TAKEN, options=options)) == "invalid_params"


def test_a_bridge_that_nobody_remembers_gives_back_what_its_alias_names(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    give_uplink(node)
    before = of_uplink(node)
    node.call(TAKEN)
    for name in ("bridges", "uplinks"):
        (node.agent.root / f"var/lib/vmpanel/{name}.json").unlink()
    node.call(network.BridgeRemove("vmbr-b"))
    assert of_uplink(node) == before


def test_guests_of_one_vxlan_reach_each_other_over_the_nodes_network(node: Subject) -> None:
    if isinstance(node, FakeSubject):
        assert node.call(ACROSS) == state_of(ACROSS)
        return
    assert isinstance(node, AgentSubject)
    assert refusal(node, ACROSS) == "no_such_interface"
    with far_end(node, "up0", "10.5.0.2/24") as other, far_end(node, "guest0", "192.0.2.8/24") as guest:
        node.agent.run_in_namespace("ip", "address", "add", "10.5.0.1/24", "dev", "up0")
        before = host_now(node)
        assert node.call(ACROSS) == state_of(ACROSS)
        node.agent.run_in_namespace("ip", "link", "set", "guest0", "master", "vmbr-x")
        for command in (
            "link add vx0 type vxlan id 7777 dstport 4789 local 10.5.0.2 remote 10.5.0.1",
            "link set vx0 up mtu 1450",
            "address add 192.0.2.9/24 dev vx0",
        ):
            other.run("ip", *command.split())
        until(lambda: guest.reaches("192.0.2.9"))
        assert other.reaches("192.0.2.8")
        assert " mtu 1450 " in node.agent.run_in_namespace("ip", "link", "show", "vmvx7777")
        for command, lacks in (
            ("bridge fdb delete 00:00:00:00:00:00 dev vmvx7777 dst 10.5.0.2", ["peers"]),
            ("ip link set vmvx7777 nomaster", ["carrier"]),
            ("ip address add 192.0.2.1/24 dev vmbr-x", ["apart"]),
        ):
            node.agent.run_in_namespace(*command.split())
            assert node.call(network.BridgesRead()).bridges[0].lacks == lacks
            assert node.call(ACROSS).lacks == []
        fewer = replace(ACROSS, options={**ACROSS.options, "peers": "10.5.0.3"})
        assert node.call(fewer).lacks == [] and not guest.reaches("192.0.2.99")
        node.agent.run_in_namespace("ip", "link", "set", "guest0", "nomaster")
        node.call(network.BridgeRemove("vmbr-x"))
        assert host_now(node) == before


def test_a_kernel_without_vlans_refuses_them_in_one_sentence_and_nothing_is_made(node: Subject) -> None:
    give_uplink(node)
    if isinstance(node, FakeSubject):
        node.node.unable.add("vlan")
    before = host_now(node) if isinstance(node, AgentSubject) else []
    try:
        found = node.call(VLAN)
    except CommandFailed as error:
        assert code_of(error) == "unsupported" and "kernel has no" in error.message
        assert node.call(network.BridgesRead()).bridges == []
        assert not isinstance(node, AgentSubject) or host_now(node) == before
        return
    # A kernel that has them.
    assert found == state_of(VLAN)
    assert isinstance(node, AgentSubject)
    assert "vlan protocol 802.1Q id 77 " in node.agent.run_in_namespace("ip", "-d", "link", "show", "up0.77")
    node.call(network.BridgeRemove("vmbr-v"))
    assert host_now(node) == before


def test_a_vlan_and_a_vxlan_have_a_number_and_where_they_go(node: Subject) -> None:
    for asked, name, values in (
        (VLAN, "vlan", ("", "0", "4095", "five")),
        (VLAN, "uplink", ("", "a b")),
        (VLAN, "mtu", ("90", "-")),
        (VLAN, "vni", ("5",)),
        (ACROSS, "vni", ("", "0", "16777216")),
        (ACROSS, "local", ("", "nowhere")),
        (ACROSS, "peers", ("10.5.0.2,nowhere", "2001:db8::1")),
    ):
        for value in values:
            assert refusal(node, replace(asked, options={**asked.options, name: value})) == "invalid_params"
    assert node.call(network.BridgesRead()).bridges == []


GUEST = ["2001:db8:1::77", "203.0.113.77"]


def test_a_routed_network_s_guests_are_reached_from_outside_while_they_are_on_the_node(node: Subject) -> None:
    assert refusal(node, ROUTED) == "no_such_interface"
    if isinstance(node, FakeSubject):
        node.node.host_links.append("up0")
        assert node.call(ROUTED) == state_of(ROUTED)
        return
    assert isinstance(node, AgentSubject)
    agent = node.agent
    for name in ("default", "all"):
        agent.run_in_namespace("sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0")
    with far_end(node, "up0", "203.0.113.1/24", "2001:db8:1::1/64") as outside, far_end(node, "guest0") as guest:
        for address in ("203.0.113.5/24", "2001:db8:1::5/64"):
            agent.run_in_namespace("ip", "address", "add", address, "dev", "up0")
        before = host_now(node)
        assert node.call(ROUTED) == state_of(ROUTED)
        agent.run_in_namespace("ip", "link", "set", "guest0", "master", "vmbr-r")
        for address, gateway in (("2001:db8:1::77/128", "fe80::1"), ("203.0.113.77/32", "169.254.1.1")):
            guest.run("ip", "address", "add", address, "dev", "far0")
            guest.run("ip", "route", "add", "default", "via", gateway, "dev", "far0", "onlink")
        assert not any(outside.reaches(each) for each in GUEST)
        spec = make_spec(node.pool)
        mine = replace(spec.interfaces[0], bridge="vmbr-r", addresses=GUEST)
        node.call(host.HostCreate(spec=replace(spec, interfaces=[mine])))
        until(lambda: all(outside.reaches(each) for each in GUEST))
        assert node.call(network.BridgesRead()).bridges[0].lacks == []
        for command, lacks in (
            ("ip route delete 203.0.113.77 dev vmbr-r", ["routes"]),
            ("ip neighbour delete proxy 203.0.113.77 dev up0", ["proxies"]),
            ("ip address delete 169.254.1.1/32 dev vmbr-r", ["address", "routes"]),
            ("sysctl -qw net.ipv6.conf.all.forwarding=0", ["forwarding of IPv6"]),
        ):
            agent.run_in_namespace(*command.split())
            assert node.call(network.BridgesRead()).bridges[0].lacks == lacks
            assert node.call(ROUTED).lacks == []
        # One address less, as when it is taken from the interface; then all, as when the VM moved away.
        less = network.VmFilters(spec.uuid, [replace(mine, addresses=GUEST[:1])])
        node.call(network.FiltersEnsure(guards=[less]))
        assert outside.reaches(GUEST[0]) and not outside.reaches(GUEST[1])
        node.call(host.HostDelete(uuid=spec.uuid))
        assert not outside.reaches(GUEST[0])
        agent.run_in_namespace("ip", "link", "set", "guest0", "nomaster")
        node.call(network.BridgeRemove("vmbr-r"))
        assert host_now(node) == before
        assert agent.run_in_namespace("sysctl", "-n", "net.ipv6.conf.all.forwarding") == "0\n"
        assert agent.run_in_namespace("sysctl", "-n", "net.ipv6.conf.up0.proxy_ndp") == "0\n"


def test_a_routed_network_has_gateways_and_an_uplink_to_answer_on(node: Subject) -> None:
    for options in ({"proxy": "on"}, {"proxy": "perhaps", "uplink": "up0"}, {"uplink": "a b"}):
        assert refusal(node, replace(ROUTED, options=options)) == "invalid_params"
    for gateway in ("", "fe80::1/64"):
        assert refusal(node, replace(ROUTED, gateway=gateway)) == "invalid_params"


@pytest.mark.parametrize("asked", [ISOLATED, replace(ROUTED, options={})])
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


def test_an_isolated_network_has_no_options_and_no_gateway_on_the_node(node: Subject) -> None:
    six = network.Subnet("2001:db8::/64", "2001:db8::1/64")
    for wrong in (
        replace(ISOLATED, options={"vlan": "5"}),
        replace(ISOLATED, subnet="somewhere"),
        replace(ISOLATED, gateway="192.0.2.1/24"),
        replace(ISOLATED, further=[six]),
    ):
        assert refusal(node, wrong) == "invalid_params"
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
