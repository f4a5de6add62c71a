"""Ports of the node that lead to guests: what the node remembers and refuses, and that packets get there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.protocol import host, network
from nodeagent.protocol.host import Forward
from tests.contract.bridges import ENSURE, PORT, damage, far_end, refusal
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, make_spec
from tests.contract.test_bridge_kinds import restore
from tests.contract.test_security_groups import asks, serving

pytestmark = pytest.mark.netns
SSH, GAMES = Forward("tcp", 10022, 10022, 22), Forward("udp", 10100, 10110, 10100)


def led(node: Subject, *forwards: Forward, number: int = 1) -> host.DomainSpec:
    """A domain that these ports lead to."""
    spec = make_spec(node.pool)
    addresses = ["fd00:77::10", f"10.77.0.{9 + number}"]
    mac = f"52:54:00:12:34:{55 + number}"
    return replace(spec, interfaces=[replace(spec.interfaces[0], mac=mac, addresses=addresses, forwards=[*forwards])])


def told(node: Subject) -> list[tuple[list[Forward], bool]]:
    """What the node says of its ports."""
    return [(each.interface.forwards, each.in_force) for each in node.call(network.BridgesRead()).ports]


def other(spec: host.DomainSpec, *forwards: Forward) -> network.VmFilters:
    """The domain's port, which other ports lead to."""
    return network.VmFilters(spec.uuid, [replace(spec.interfaces[0], forwards=[*forwards])])


def test_they_are_remembered_until_the_domain_is_gone(node: Subject) -> None:
    spec = led(node, SSH)
    node.call(host.HostCreate(spec=spec))
    assert told(node) == [([SSH], True)]
    node.call(network.SecurityUpdate([other(spec, SSH, GAMES)]))
    assert told(node) == [([SSH, GAMES], True)]
    node.call(network.SecurityUpdate([other(spec)]))
    assert told(node) == [([], True)]
    node.call(host.HostDelete(uuid=spec.uuid))
    assert told(node) == []


def test_a_port_that_the_host_or_another_guest_has_is_refused(node: Subject) -> None:
    first, second = led(node, SSH), led(node, replace(SSH, to=2222), number=2)
    node.call(host.HostCreate(spec=first))
    assert refusal(node, host.HostCreate(spec=second)) == "exists"
    assert not node.call(host.HostInfo(uuid=second.uuid)).exists
    port = listening(node)
    assert refusal(node, network.SecurityUpdate([other(first, Forward("tcp", port, port, 22))])) == "exists"
    assert told(node) == [([SSH], True)]


def listening(node: Subject) -> int:
    """A port that a program of the host listens on."""
    if isinstance(node, FakeSubject):
        node.node.listening.add(("tcp", 10222))
        return 10222
    assert isinstance(node, AgentSubject)
    found = node.agent.run_in_namespace("sh", "-c", "nc -l -p 10222 > /dev/null 2>&1 & sleep 0.2; echo 10222")
    return int(found)


NO_FORWARDS = (
    Forward("icmp", 1, 1, 1),
    Forward("tcp; drop", 1, 1, 1),
    Forward("tcp", 0, 1, 1),
    Forward("tcp", 2, 1, 2),
    Forward("tcp", 1, 65536, 1),
    Forward("tcp", 1, 2, 3),
    Forward("tcp", 1, 1, 65536),
)


def test_what_is_none_is_refused_before_anything_is_there(node: Subject) -> None:
    for wrong in NO_FORWARDS:
        assert refusal(node, host.HostCreate(spec=led(node, wrong))) == "invalid_params"
    spec = led(node, SSH)
    for more in ({"addresses": ["fd00:77::10"]}, {"bridge": 'x" accept'}):
        wrong_spec = replace(spec, interfaces=[replace(spec.interfaces[0], **more)])  # type: ignore[arg-type]
        assert refusal(node, host.HostCreate(spec=wrong_spec)) == "invalid_params"
    assert told(node) == [] and not node.call(host.HostInfo(uuid=spec.uuid)).exists


def test_packets_get_there_and_after_the_node_s_start_again(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.call(ENSURE)
    inside = node.agent.run_in_namespace
    with far_end(node, PORT, "10.77.0.10/24") as guest, far_end(node, "world0", "192.0.2.5/24") as world:
        inside("ip", "link", "set", PORT, "master", ENSURE.name)
        inside("ip", "address", "add", "192.0.2.1/24", "dev", "world0")
        guest.run("ip", "route", "add", "default", "via", "10.77.0.1")
        with serving(guest, 22, 10101):
            assert not asks(world, "192.0.2.1", 10022)
            spec = led(node, SSH, Forward("tcp", 10100, 10110, 10100))
            node.call(host.HostCreate(spec=spec))
            assert asks(world, "192.0.2.1", 10022) and asks(world, "192.0.2.1", 10101)
            assert not asks(world, "192.0.2.1", 10102)
            inside("nft", "delete", "table", "ip", "vmpanel_forward")
            assert [each[1] for each in told(node)] == [False] and not asks(world, "192.0.2.1", 10022)
            restore(node)
            assert [each[1] for each in told(node)] == [True] and asks(world, "192.0.2.1", 10022)
            node.call(host.HostDelete(uuid=spec.uuid))
            assert not asks(world, "192.0.2.1", 10022)
            assert "vmpanel_forward" not in inside("nft", "list", "tables")


def test_what_the_kernel_lost_is_told_of_and_written_again(node: Subject) -> None:
    spec = led(node, SSH)
    node.call(host.HostCreate(spec=spec))
    damage(node, lambda fake: fake.node.unsecured.add(PORT), "nft flush chain ip vmpanel_forward prerouting")
    assert [each[1] for each in told(node)] == [False]
    node.call(network.FiltersEnsure([other(spec, SSH)]))
    assert [each[1] for each in told(node)] == [True]
