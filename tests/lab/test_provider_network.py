"""VMs in networks of every kind, reached from the internet: by both versions of IP, moved, rebooted with their node.

Two nodes are in a provider's network (provider.py). Of each network there are two guests, one on each node. The run of
every day has the routed ones, which have interfaces in networks of the kinds “vxlan” and “isolated” too.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.lab.guests import make_key, ssh
from tests.lab.hosts import LabError, Node
from tests.lab.provider import BRIDGE, OUTSIDE, OWN, Provider, provider_of
from tests.stack import done, task_of, wait_for_task, wait_until

NAT = "private"
"""The cluster's first network."""
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "taken-in": {
        "kind": "bridge",
        "options": {"uplink": OWN.interface},
        "first": {"subnet": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": ["203.0.113.100-203.0.113.110"]},
        "second": {"cidr": "2001:db8:113::/64", "gateway": "2001:db8:113::1"},
    },
    "host-s-own": {
        "kind": "bridge",
        "options": {"bridge": BRIDGE},
        "first": {"subnet": "192.0.2.0/24", "gateway": "192.0.2.1", "ranges": ["192.0.2.100-192.0.2.110"]},
        "second": {"cidr": "2001:db8:2::/64", "gateway": "2001:db8:2::1"},
    },
    "by-route": {
        "kind": "routed",
        "options": {"uplink": BRIDGE, "proxy": "on"},
        "first": {"subnet": "192.0.2.128/25"},
        "second": {"cidr": "2001:db8:2:0:1::/80"},
    },
    "six-only": {
        "kind": "routed",
        "options": {"uplink": BRIDGE, "proxy": "on"},
        "first": {"subnet": "2001:db8:2:0:2::/80"},
    },
    "across": {
        "kind": "vxlan",
        "options": {"vni": "77"},
        "first": {"subnet": "10.88.0.0/24"},
        "second": {"cidr": "fd00:88::/64"},
    },
    "apart": {"kind": "isolated", "first": {"subnet": "10.99.0.0/24"}, "second": {"cidr": "fd00:99::/64"}},
}
FURTHER = ("across", "apart")
BOOT_UNIT = ["/usr/bin/python3", "/usr/lib/vmpanel/nodeagent.pyz", "--restore-network"]
"""What the unit vmpanel-network runs before libvirtd; a node of the lab has no systemd."""
ASK = """
import select, socket, sys, time
while not select.select([sys.stdin], [], [], 0.02)[0]:
    try:
        socket.create_connection((sys.argv[1], 9), 0.1).close()
    except ConnectionRefusedError:
        print(time.time(), flush=True)
    except OSError:
        pass
"""
"""A port that nobody listens on: the guest's kernel says so, and its sshd is left alone."""


class Caller:
    """Asks an address from outside again and again; tells the longest time without an answer."""

    def __init__(self, provider: Provider, address: str) -> None:
        pipe = subprocess.PIPE
        argv = provider.argv(["/usr/bin/python3", "-c", ASK, address])
        self.call = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)

    def stop(self) -> float:
        """The longest silence, in seconds."""
        answers = [float(line) for line in self.call.communicate(timeout=10)[0].split()]
        return max((after - before for before, after in itertools.pairwise(answers)), default=float("inf"))


@dataclass
class World:
    """The panel beside a provider's network."""

    api: httpx.Client
    provider: Provider
    nodes: list[Node]
    key: Path
    public: str
    made: dict[str, str] = field(default_factory=lambda: {NAT: ""})
    """Networks by their names, and their paths."""

    def have_network(self, name: str) -> None:
        """Both nodes have it."""
        if name in self.made:
            return
        of, path = NETWORKS[name], "networks"
        raw = {"name": name, "kind": of["kind"], "options": of.get("options", {}), **of["first"]}
        task = done(self.api, self.api.post(path, json=raw))
        assert task["result"]["not_on"] == {}
        self.made[name] = path = f"networks/{task['object_id']}"
        if "second" in of:
            done(self.api, self.api.post(f"{path}/add-subnet", json=of["second"]))

    def remove_networks(self) -> None:
        """Neither the panel nor a node has one of them."""
        for path in filter(None, self.made.values()):
            done(self.api, self.api.delete(path))

    def check(self, node: Node) -> None:
        """What the panel does with a node from time to time."""
        found = self.api.get("nodes", params={"name": node.name}).json()["results"][0]
        assert done(self.api, self.api.post(f"nodes/{found['id']}/check", json={}))["result"]["complaints"] == []


class Guest:
    """A VM, asked for."""

    def __init__(self, world: World, network: str, node: Node, *, image: str = "tiny", flavor: str = "tiny") -> None:
        self.world, self.network, self.node = world, network, node
        self.name = f"{network}-{node.number}"
        raw = {"name": self.name, "network": network, "node": node.name, "ssh_keys": [world.public]}
        answer = world.api.post("vms", json={**raw, "image": image, "flavor": flavor})
        self.task, self.path = task_of(answer), f"vms/{answer.json()['vm']}"

    def wait(self) -> None:
        """It is made."""
        task = wait_for_task(self.world.api, self.task)
        assert task["status"] == "done", task["error"]

    def of(self, network: str) -> list[str]:
        """Its addresses of a network, IPv4 first."""
        shown = self.world.api.get(self.path).json()["interfaces"]
        found = [address for each in shown if each["network"] == network for address in each["addresses"]]
        return sorted(found, key=lambda address: ":" in address)

    @property
    def addresses(self) -> list[str]:
        """Those of its first interface."""
        return self.of(self.network)

    def run(self, command: str, address: str = "") -> str:
        """What a command prints in the guest, signed in from outside; behind NAT from its node."""
        if self.network == NAT:
            return ssh(self.node, self.world.key.read_text(), "root", address or self.addresses[0], command)
        argv = ["ssh", "-i", str(self.world.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        argv += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"]
        argv += [f"root@{address or self.addresses[0]}", command]
        return self.world.provider.run(argv).strip()

    def is_reached(self, seconds: float = 40.0) -> None:
        """One signs in at each of its addresses, and it is this guest."""
        for address in self.addresses:
            wait_until(lambda: self._answers(address), f"{self.name} is reached at {address}", seconds)  # noqa: B023

    def _answers(self, address: str) -> bool:
        try:
            return self.run("hostname", address) == self.name
        except LabError:
            return False

    def reaches(self, addresses: list[str]) -> list[bool]:
        """At which of these addresses an sshd answers the guest."""
        asked = "(nc -w 3 {0} 22 </dev/null 2>/dev/null | grep -q SSH && echo {0}) & "
        there = self.run("".join(asked.format(each) for each in addresses) + "wait").split()
        return [each in there for each in addresses]

    def gets_out(self) -> bool:
        """Whether the host outside answers it, by each version that it has."""
        wanted = {OUTSIDE[":" in address] for address in self.addresses}
        return all(" 0% packet loss" in self.run(f"ping -c 1 -W 3 {each}") for each in wanted)

    def do(self, verb: str, **raw: Any) -> dict[str, Any]:
        """The operation's task, which ended well."""
        return done(self.world.api, self.world.api.post(f"{self.path}/{verb}", json=raw))

    def move(self, node: Node) -> None:
        """It moves while it runs; how long it was silent towards outside is printed."""
        callers = [Caller(self.world.provider, each) for each in self.addresses if self.network != NAT]
        try:
            result = self.do("migrate", node=node.name)["result"]
            self.node = node
            self.is_reached()
        finally:
            silent = [each.stop() for each in callers]
        lost = " and ".join(f"{seconds * 1000:.0f}" for seconds in silent) or "?"
        print(f"{self.name} to {node.name}: silent for {lost} ms; still for {result['downtime_ms']} ms")
        assert max(silent, default=0) < 30


@pytest.fixture(scope="module")
def world(cluster: list[Node], api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world; nothing is left afterwards, and the nodes have their own interfaces as they were."""
    folder = tmp_path_factory.mktemp("key")
    _private, public = make_key(str(folder))
    with provider_of(cluster[0].lab, cluster) as provider:
        before = [of_host(node) for node in cluster]
        world = World(api, provider, cluster, folder / "id", public)
        try:
            yield world
        finally:
            world.remove_networks()
        assert [of_host(node) for node in cluster] == before


def of_host(node: Node) -> list[str]:
    """What a node has of interfaces, addresses and routes, but for what is ours."""
    shown = [node.run(["ip", *each.split()]).stdout for each in ("-br address", "route", "-6 route")]
    lines = [" ".join(line.split()) for text in shown for line in text.splitlines()]
    return sorted(line for line in lines if not any(each in line for each in ("fe80", "@", "vmbr")))


def of_network(node: Node) -> list[str]:
    """What a node has of rules, routes and what it answers for."""
    shown = [node.run(each.split()).stdout for each in ("nft -s list ruleset", "ip route", "ip -6 neigh show proxy")]
    return [line for text in shown for line in text.splitlines()]


def restart_libvirtd(node: Node) -> None:
    """libvirtd dies, and its supervisor starts it."""
    node.kill_libvirtd()
    wait_until(lambda: not node.pids("libvirtd"), "it is dead", 10)
    node.ensure_libvirt()


def restart(node: Node, world: World) -> None:
    """A power cut, and what the node's start does of itself."""
    node.stop()
    node.start()
    node.run(BOOT_UNIT)
    node.ensure_libvirt()
    world.check(node)


@pytest.fixture
def pair(world: World, request: pytest.FixtureRequest) -> Iterator[list[Guest]]:
    """A guest of the network on each node, made."""
    world.have_network(request.param)
    guests = [Guest(world, request.param, node) for node in world.nodes]
    try:
        for each in guests:
            each.wait()
        yield guests
    finally:
        for answer in [world.api.delete(each.path) for each in guests]:
            done(world.api, answer)


KINDS = ["by-route", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("taken-in", "host-s-own", NAT))]


@pytest.mark.parametrize("pair", KINDS, indirect=True)
def test_guests_are_reached_wherever_they_go_and_whatever_restarts(world: World, pair: list[Guest]) -> None:
    one, two = pair
    there = two.node
    has_world(pair)
    addresses = [each.addresses for each in pair]

    one.move(there)
    before = of_network(there)
    restart_libvirtd(there)
    assert of_network(there) == before
    has_world(pair)

    further = FURTHER if one.network == "by-route" else ()
    for network in further:
        world.have_network(network)
        for each in pair:
            each.do("add-interface", network=network)
    restart(there, world)
    for each in pair:
        each.do("start")
    has_world(pair)
    assert [each.addresses for each in pair] == addresses
    if further:
        assert [one.reaches(two.of(each)) for each in further] == [[True, True]] * 2
        one.move(world.nodes[0])
        assert [one.reaches(two.of(each)) for each in further] == [[True, True], [False, False]]


def has_world(pair: list[Guest]) -> None:
    """Both are reached from outside, get out, and reach each other, as the kind of their network means it."""
    one, two = pair
    for each in pair:
        each.is_reached()
    if one.network == NAT:
        assert "1 packets received" in one.run(f"ping -c 1 -W 3 {OUTSIDE[0]}")
        with pytest.raises(LabError):
            one.world.provider.run(["nc", "-z", "-w", "1", one.addresses[0], "22"])
        assert one.reaches(two.addresses) == [one.node is two.node]
    else:
        assert one.reaches(two.addresses) == [True, True]


@pytest.fixture
def debian(world: World) -> Iterator[Callable[[str], Guest]]:
    """Make a VM of the Debian image in a network; afterwards it is gone."""
    made = []

    def create(network: str) -> Guest:
        made.append(Guest(world, network, world.nodes[0], image="debian-12", flavor="small"))
        made[0].wait()
        return made[0]

    yield create
    for each in made:
        done(world.api, world.api.delete(each.path))


@pytest.mark.nightly
def test_debian_has_addresses_with_gateways_outside_of_them(world: World, debian: Callable[[str], Guest]) -> None:
    world.have_network("by-route")
    guest = debian("by-route")
    guest.is_reached(120)
    assert guest.gets_out()


@pytest.mark.nightly
def test_debian_has_ipv6_alone(world: World, debian: Callable[[str], Guest]) -> None:
    world.have_network("six-only")
    guest = debian("six-only")
    assert len(guest.addresses) == 1
    guest.is_reached(120)
    assert guest.gets_out()


@pytest.mark.nightly
def test_debian_has_two_interfaces(world: World, debian: Callable[[str], Guest]) -> None:
    for network in ("host-s-own", "across"):
        world.have_network(network)
    guest = debian("host-s-own")
    guest.do("add-interface", network="across")
    guest.do("restart", timeout_seconds=30)
    guest.is_reached(120)
    shown = guest.run("ip -br address")
    assert all(f"{address}/" in shown for network in ("host-s-own", "across") for address in guest.of(network))
    assert guest.gets_out()
