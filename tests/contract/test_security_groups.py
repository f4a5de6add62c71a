"""Security groups of ports: what the node remembers of them, and which packets pass, in networks of several kinds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from subprocess import DEVNULL, Popen

import pytest

from nodeagent.protocol import Nothing, host, network
from nodeagent.protocol.host import Security, SecurityRule
from tests.contract.bridges import ENSURE, PORT, FarEnd, damage, far_end, refusal
from tests.contract.local_agent import until
from tests.contract.subjects import AgentSubject, Subject, make_spec
from tests.contract.test_bridge_kinds import restore

pytestmark = pytest.mark.netns
SSH = SecurityRule("in", "tcp", 22, 22, ["10.77.0.1/32", "10.77.0.0/24", "fd00:77::/64"])
OUT = SecurityRule("out", "any")


def secured(node: Subject, *rules: SecurityRule, revision: int = 0, **more: object) -> host.DomainSpec:
    """A domain whose port has these rules."""
    spec = make_spec(node.pool)
    spec = replace(
        spec,
        interfaces=[replace(spec.interfaces[0], security=Security([*rules], revision), **more)],  # type: ignore[arg-type]
    )
    node.call(host.HostCreate(spec=spec))
    return spec


def told(node: Subject) -> list[tuple[str, Security | None, bool]]:
    """What the node says of its ports."""
    return [(each.vm, each.interface.security, each.in_force) for each in node.call(network.BridgesRead()).ports]


def other(spec: host.DomainSpec, *rules: SecurityRule, revision: int = 0) -> network.VmFilters:
    """The domain's port with other rules."""
    return network.VmFilters(spec.uuid, [replace(spec.interfaces[0], security=Security([*rules], revision))])


@pytest.mark.covers("security_update")
def test_rules_of_a_port_are_remembered_until_its_domain_is_gone(node: Subject) -> None:
    spec = secured(node, SSH, OUT, revision=5)
    assert told(node) == [(spec.uuid, Security([SSH, OUT], 5), True)]
    # What was read before it comes too late, whichever request brings it.
    assert node.call(network.SecurityUpdate([other(spec, OUT, revision=4)])) == Nothing()
    node.call(network.FiltersEnsure([other(spec, OUT, revision=4)]))
    assert told(node) == [(spec.uuid, Security([SSH, OUT], 5), True)]
    stranger = network.VmFilters("5d1f5a3e-0000-4000-8000-000000000001", spec.interfaces)
    node.call(network.SecurityUpdate([other(spec, OUT, revision=6), stranger]))
    assert told(node) == [(spec.uuid, Security([OUT], 6), True)]
    node.call(network.FiltersEnsure([network.VmFilters(spec.uuid, [replace(spec.interfaces[0], security=None)])]))
    assert told(node) == [(spec.uuid, None, True)]
    node.call(host.HostDelete(uuid=spec.uuid))
    assert told(node) == []


NO_RULES = (
    SecurityRule("both", "tcp"),
    SecurityRule("in", "tcp; drop"),
    SecurityRule("in", "icmp", 1, 2),
    SecurityRule("in", "tcp", 9, 8),
    SecurityRule("in", "tcp", 0, 8),
    SecurityRule("in", "tcp", 1, 65536),
    SecurityRule("in", "any", peers=["10.0.0.0/8 } accept"]),
    SecurityRule("in", "any", peers=["10.0.0.1/8"]),
)


def test_a_rule_that_is_none_is_refused_before_anything_is_there(node: Subject) -> None:
    spec = make_spec(node.pool)
    for rule in NO_RULES:
        wrong = replace(spec, interfaces=[replace(spec.interfaces[0], security=Security([rule]))])
        assert refusal(node, host.HostCreate(spec=wrong)) == "invalid_params"
        assert refusal(node, network.SecurityUpdate([other(spec, rule)])) == "invalid_params"
    assert told(node) == [] and not node.call(host.HostInfo(uuid=spec.uuid)).exists


LOSSES = (
    "nft delete table bridge vmpanel_security",
    f"nft insert rule bridge vmpanel_security i_{PORT} accept",
    "nft flush chain bridge vmpanel_security in",
)


def test_rules_that_the_kernel_lost_are_told_of_and_written_again(node: Subject) -> None:
    spec = secured(node, SSH)
    for command in LOSSES:
        damage(node, lambda fake: fake.node.unsecured.add(PORT), command)
        assert [each[2] for each in told(node)] == [False]
        node.call(network.FiltersEnsure([other(spec, SSH)]))
        assert [each[2] for each in told(node)] == [True]


SERVE = """
import select, socket, sys
family = {"family": socket.AF_INET6, "dualstack_ipv6": True}
servers = [socket.create_server(("::", int(port)), **family) for port in sys.argv[1:]]
print("up", flush=True)
held = []
while True:
    for each in select.select(servers, [], [])[0]:
        held.append(each.accept()[0])
        held[-1].send(b"hello")
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5) as connection:
    connection.settimeout(0.5)
    sys.exit(connection.recv(5) != b"hello")
"""


@contextmanager
def serving(far: FarEnd | AgentSubject, *ports: int) -> Iterator[None]:
    """Somebody answers on these ports there."""
    pid = far.process.pid if isinstance(far, FarEnd) else far.agent.link().hello["pid"]
    argv = [*f"nsenter --net=/proc/{pid}/ns/net".split(), sys.executable, "-c", SERVE, *map(str, ports)]
    server = Popen(argv, stdout=-1, stderr=DEVNULL)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        yield
    finally:
        server.kill()
        server.communicate()


def asks(far: FarEnd, address: str, port: int) -> bool:
    """Whether somebody answers on the port."""
    return far.run(sys.executable, "-c", ASK, address, str(port), check=False).returncode == 0


def pings(far: FarEnd, address: str) -> bool:
    """Whether an echo comes back."""
    return far.run("busybox", "ping", "-c1", "-W1", address, check=False).returncode == 0


@contextmanager
def guests(node: Subject) -> Iterator[tuple[AgentSubject, FarEnd, FarEnd]]:
    """Two guests on the NAT network's bridge, the first on the port of the tests' domains."""
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    agent = node.agent
    for name in ("default", "all"):
        agent.run_in_namespace("sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0")
    ours, theirs = ("10.77.0.10/24", "fd00:77::10/64"), ("10.77.0.11/24", "fd00:77::11/64")
    with far_end(node, PORT, *ours) as guest, far_end(node, "other0", *theirs) as peer:
        for port in (PORT, "other0"):
            agent.run_in_namespace("ip", "link", "set", port, "master", ENSURE.name)
        until(lambda: pings(peer, "fd00:77::10"))
        yield node, guest, peer


def test_packets_pass_as_rules_say_and_answers_do(node: Subject) -> None:
    with guests(node) as (agent, guest, peer), serving(guest, 22, 80), serving(peer, 22), serving(agent, 22):
        ways = ("10.77.0.10", "fd00:77::10")
        assert all(asks(peer, each, 80) and pings(peer, each) for each in ways)
        spec = secured(node, SSH, SecurityRule("out", "icmp", peers=["10.77.0.11/32"]))
        for each in ways:
            assert asks(peer, each, 22) and not asks(peer, each, 80) and not pings(peer, each)
        # What the node itself sends is filtered too, and its answers come back as others' do.
        assert node_asks(agent, "10.77.0.10", 22) and not node_asks(agent, "10.77.0.10", 80)
        assert pings(guest, "10.77.0.11") and not pings(guest, "10.77.0.1") and not pings(guest, "fd00:77::11")
        assert not asks(guest, "10.77.0.11", 22)
        # Another rule for what is sent, while it runs; what it asks for is answered, of both versions.
        node.call(network.SecurityUpdate([other(spec, OUT)]))
        assert all(asks(guest, each, 22) for each in ("10.77.0.11", "fd00:77::11", "10.77.0.1"))
        assert not any(asks(peer, each, 22) or pings(peer, each) for each in ways)
        node.call(host.HostDelete(uuid=spec.uuid))
        assert all(asks(peer, each, 80) for each in ways)
        assert "vmpanel_security" not in agent.agent.run_in_namespace("nft", "list", "tables")


def node_asks(node: AgentSubject, address: str, port: int) -> bool:
    """The same from the node itself."""
    try:
        node.agent.run_in_namespace(sys.executable, "-c", ASK, address, str(port))
    except Exception:
        return False
    return True


TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], 22), 2) as connection:
    connection.settimeout(3)
    connection.recv(5)
    print("up", flush=True)
    sys.stdin.readline()
    connection.send(b"more")
    sys.exit(connection.recv(4) != b"more")
"""
ECHO = """
import socket
server = socket.create_server(("10.77.0.11", 22))
print("up", flush=True)
connection = server.accept()[0]
connection.send(b"hello")
while data := connection.recv(5):
    connection.send(data)
"""


def test_a_connection_outlasts_other_rules_a_migration_and_the_node_s_start(node: Subject) -> None:
    with guests(node) as (agent, guest, peer):
        inside = [f"nsenter --net=/proc/{each.process.pid}/ns/net".split() for each in (guest, peer)]
        spec = secured(node, OUT)
        with Popen([*inside[1], sys.executable, "-c", ECHO], stdout=-1) as server:
            assert server.stdout is not None and server.stdout.readline() == b"up\n"
            with Popen([*inside[0], sys.executable, "-c", TALK, "10.77.0.11"], stdin=-1, stdout=-1) as talk:
                assert talk.stdout is not None and talk.stdout.readline() == b"up\n"
                node.call(network.SecurityUpdate([other(spec, SSH)]))
                assert not asks(guest, "10.77.0.11", 80)
                # As on a node that the guest has just come to, or that was started anew: nothing is noted there.
                agent.agent.run_in_namespace("nft", "delete", "table", "bridge", "vmpanel_security")
                restore(node)
                assert [each[2] for each in told(node)] == [True]
                assert talk.communicate(b"\n", timeout=5) and talk.returncode == 0
            server.kill()


def test_rules_of_a_group_that_has_nobody_let_nobody_in(node: Subject) -> None:
    with guests(node) as (_agent, guest, peer), serving(guest, 22):
        spec = secured(node, SecurityRule("in", "any", peers=[]))
        assert not asks(peer, "10.77.0.10", 22)
        node.call(network.SecurityUpdate([other(spec, SecurityRule("in", "any", peers=["10.77.0.11/32"]))]))
        assert asks(peer, "10.77.0.10", 22) and not asks(peer, "fd00:77::10", 22)
        # A packet in two parts, of which only the first has ports.
        assert peer.run("busybox", "ping", "-c1", "-W1", "-s3000", "10.77.0.10", check=False).returncode == 0
