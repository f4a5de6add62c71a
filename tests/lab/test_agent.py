"""The agent on a real host without a panel around it: consoles, a deaf guest, a libvirtd that dies, its removal."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nodeagent.protocol import host, network, storage
from nodeagent.protocol import node as machine
from panel.cluster import session
from panel.cluster.client import NodeAddress
from panel.core.errors import LibvirtFailure, NodeError, NodeUnreachable
from panel.web import rfb
from tests.lab.hosts import Lab, Node
from tests.refs import directory, ref
from tests.stack import wait_until

POOL = "/srv/agent/pool"
BRIDGE = "vmbr-agent"


@pytest.fixture(scope="module")
def alone() -> Iterator[Node]:
    """A host of a lab of its own, which no panel knows."""
    with Lab.create(1) as lab:
        yield lab.nodes[0]


def address_of(node: Node) -> NodeAddress:
    """How it is reached."""
    return NodeAddress(node.name, node.address, node.ssh_port, password=node.root_password)


@pytest.fixture(scope="module")
def client(alone: Node) -> Iterator[session.Session]:
    """A session with the agent on it."""
    client = session.Session(address_of(alone))
    client.call(machine.LibvirtEnsure(), deadline=60)
    client.call(storage.PoolEnsure(directory(POOL)))
    client.call(network.BridgeEnsure(name=BRIDGE, gateway="10.99.0.1/24", subnet="10.99.0.0/24"))
    yield client
    client.close()


@pytest.fixture
def running(client: session.Session) -> Iterator[host.DomainSpec]:
    """A VM with an empty disk: its firmware finds nothing to start and heeds no button."""
    vm = str(uuid.uuid4())
    disk = f"{POOL}/volumes/{vm}.qcow2"
    client.call(storage.VolumeCreate(ref(disk), size_bytes=16 * 1024**2))
    spec = host.DomainSpec(
        uuid=vm,
        name="deaf",
        memory_mib=64,
        vcpus=1,
        virt="qemu",
        disks=[host.DiskSpec(volume=ref(disk), format="qcow2", target="vda")],
        interfaces=[host.InterfaceSpec(mac="52:54:00:00:00:99", bridge=BRIDGE)],
    )
    client.call(host.HostCreate(spec=spec))
    client.call(host.HostStart(uuid=vm))
    yield spec
    client.call(host.HostStop(uuid=vm))
    client.call(host.HostDelete(uuid=vm))
    client.call(storage.VolumeDelete(ref(disk)))


UPLINK = network.BridgeEnsure("vmbr-up", kind="bridge", options={"uplink": "eth0"}, nat=False)
CUT_SHORT = """#!/bin/sh
case " $* " in *" -batch "*) ;; *) exec /usr/sbin/ip "$@";; esac
head -n 4 | /usr/sbin/ip -batch -; rm "$0"; kill -KILL $PPID
"""
"""`ip` for an agent that dies by SIGKILL in the middle of a move, once."""


def addresses(node: Node, name: str) -> list[str]:
    """What it has of addresses and routes."""
    commands = ("ip -br address show dev", "ip route show dev", "ip -6 route show dev")
    lines = [line for each in commands for line in node.run([*each.split(), name], check=False).stdout.splitlines()]
    return sorted(found for line in lines if (found := (line.partition(" UP ")[2] or line).strip()))


def test_the_interface_that_it_is_reached_by_is_taken_into_a_bridge_and_given_back(
    alone: Node, client: session.Session
) -> None:
    before, link = addresses(alone, "eth0"), client.link()
    assert client.call(replace(UPLINK, trial_seconds=20.0)).confirm_within > 0
    assert any(alone.address in each for each in addresses(alone, "vmbr-up")) and addresses(alone, "eth0") == []
    anew = session.Session(address_of(alone))
    anew.call(network.BridgeConfirm("vmbr-up"))
    anew.close()
    assert client.call(UPLINK).lacks == []
    client.call(network.BridgeRemove("vmbr-up"))
    wait_until(lambda: addresses(alone, "eth0") == before, "its interface as it was", 10)
    assert client.link() is link, "the connection lives on"


def test_a_node_whose_agent_is_killed_while_its_interface_is_moved_is_reached_again(
    alone: Node, client: session.Session
) -> None:
    before = addresses(alone, "eth0")
    alone.run(
        ["sh", "-c", "mkdir -p /usr/local/bin; cat > /usr/local/bin/ip; chmod 755 /usr/local/bin/ip"], input=CUT_SHORT
    )
    with pytest.raises(NodeUnreachable):
        client.call(replace(UPLINK, trial_seconds=2.0))
    wait_until(lambda: not addresses(alone, "vmbr-up"), "the bridge that is gone again", 15)
    assert "vmbr-up" not in [each.name for each in client.call(network.BridgesRead()).bridges]
    assert addresses(alone, "eth0") == before


def lets_in(client: session.Session, port: int, password: str) -> bool:
    """Whether the console's VNC server takes the password."""
    channel = client.open_channel(port)
    channel.settimeout(10)
    try:
        rfb.sign_in(channel, password)
    except rfb.Refused:
        return False
    finally:
        channel.close()
    return True


def test_a_console_lets_nobody_in_but_for_a_moment_who_has_its_password(
    client: session.Session, running: host.DomainSpec
) -> None:
    port = client.call(host.HostInfo(uuid=running.uuid)).vnc_port
    assert port is not None
    assert not lets_in(client, port, "")
    console = client.call(host.ConsoleOpen(uuid=running.uuid, password="onetime1", valid_seconds=3.0))
    assert console.port == port
    assert lets_in(client, port, "onetime1")
    assert not lets_in(client, port, "onetime2")
    wait_until(lambda: not lets_in(client, port, "onetime1"), "the password expires", 10)
    assert not lets_in(client, port, "")


def test_a_console_listens_on_the_loopback_address_only(alone: Node, running: host.DomainSpec) -> None:
    listening = [line.split()[3] for line in alone.run(["ss", "-ltnH"]).stdout.splitlines()]
    consoles = [each for each in listening if ":59" in each]
    assert consoles and all(each.startswith("127.0.0.1:") for each in consoles)


def test_a_guest_that_does_not_obey_is_still_running_after_the_time(
    client: session.Session, running: host.DomainSpec
) -> None:
    assert client.call(host.HostShutdown(uuid=running.uuid, timeout_seconds=1.0)).state == "running"


def test_a_bridge_with_a_guest_is_not_removed(client: session.Session, running: host.DomainSpec) -> None:
    with pytest.raises(NodeError) as caught:
        client.call(network.BridgeRemove(name=BRIDGE))
    assert caught.value.data["agent_code"] == "in_use"


def test_a_volume_in_use_by_a_guest_can_be_read(client: session.Session, running: host.DomainSpec) -> None:
    state = client.call(storage.VolumeInfo(running.disks[0].volume))
    assert state.virtual_bytes == 16 * 1024**2


def test_a_guest_that_is_destroyed_ends_the_wait_for_it(client: session.Session, running: host.DomainSpec) -> None:
    errors: list[NodeError] = []
    begun = threading.Event()

    def wait() -> None:
        request = host.GuestWait(uuid=running.uuid, address="10.99.0.9", port=22, timeout_seconds=60)
        try:
            client.call(request, deadline=70, progress=lambda _progress: begun.set())
        except NodeError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(20)
    client.call(host.HostStop(uuid=running.uuid))
    thread.join(20)
    assert [error.data["agent_code"] for error in errors] == ["guest_stopped"]


def test_a_libvirtd_that_dies_comes_back_and_its_guests_live(
    client: session.Session, alone: Node, running: host.DomainSpec
) -> None:
    before = alone.run(["pidof", "libvirtd"]).stdout
    alone.run(["pkill", "-KILL", "-x", "libvirtd"])

    def answers() -> bool:
        try:
            return client.call(host.HostInfo(uuid=running.uuid)).state == "running"
        except LibvirtFailure as error:
            assert error.retriable
            return False

    wait_until(answers, "libvirtd answers again", 40)
    assert alone.run(["pidof", "libvirtd"]).stdout != before


def test_a_libvirtd_that_is_restarted_leaves_its_guests_alone(
    client: session.Session, alone: Node, running: host.DomainSpec
) -> None:
    guests = alone.run(["pgrep", "-f", running.uuid]).stdout
    before = alone.run(["pidof", "libvirtd"]).stdout.strip()
    state = client.call(machine.ServiceRestart(service=machine.LIBVIRTD), deadline=60)
    assert str(state.pid) == alone.run(["pidof", "libvirtd"]).stdout.strip() != before
    assert client.call(host.HostInfo(uuid=running.uuid)).state == "running"
    assert alone.run(["pgrep", "-f", running.uuid]).stdout == guests != ""


def test_an_agent_that_is_removed_leaves_a_clean_host(client: session.Session, alone: Node) -> None:
    client.call(network.BridgeRemove(name=BRIDGE))
    client.call(storage.PoolRemove(directory(POOL)))
    client.call(machine.AgentRemove(key="ssh-ed25519 AAAA vmpanel", panel="lab"))
    client.close()
    assert alone.run(["ls", "/usr/lib/vmpanel", "/run/vmpanel"], check=False).stdout == ""
    assert BRIDGE not in alone.run(["ip", "link"]).stdout
    assert "vmpanel" not in alone.run(["nft", "list", "ruleset"]).stdout
