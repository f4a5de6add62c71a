"""What this machine's kernel may lack, on a node with another one: VLANs, bonds and libvirt's limits of bandwidth."""

from __future__ import annotations

import json
import socket
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import host, network, storage
from nodeagent.protocol import node as machine
from panel.cluster import session
from panel.core.errors import CommandFailed
from tests.lab.hosts import Lab, Node
from tests.lab.surroundings import Host
from tests.lab.uml import PRESENT
from tests.refs import directory, ref
from tests.stack import wait_until

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not PRESENT, reason="user-mode-linux is not installed"),
]
POOL = "/srv/agent/pool"
TAGGED = network.BridgeEnsure("vmbr-v", kind="bridge", options={"uplink": "eth0.77"}, nat=False)
BOND = network.BridgeEnsure("vmbr-b", kind="bridge", options={"uplink": "bond0"}, nat=False)
UNABLE = (
    network.BridgeEnsure("vmbr-i", kind="isolated", nat=False),
    network.BridgeEnsure("vmbr-k", kind="vlan", options={"uplink": "eth0", "vlan": "78"}, nat=False),
    network.BridgeEnsure("vmbr-n", "10.9.0.1/24", "10.9.0.0/24"),
)
"""Networks whose rules this kernel cannot have: Debian's User-mode Linux filters in the family “bridge” alone."""
AUXDATA = 8
"""PACKET_AUXDATA of packet(7), which tells of the VLAN tag that the kernel took off."""


@pytest.fixture(scope="module")
def uml() -> Iterator[Node]:
    """A node with a kernel of its own."""
    with Lab.create(0) as lab:
        yield lab.add_node(kernel="uml")


@pytest.fixture(scope="module")
def client(uml: Node) -> Iterator[session.Session]:
    """A session with the agent on it."""
    client = Host(uml).session()
    yield client
    client.close()


def ip(node: Node, words: str) -> None:
    """Change the node's network."""
    node.run(["ip", *words.split()])


def answered_in(lab: Lab, vlan: int, address: str) -> int | None:
    """In which VLAN a question in that one (0 for none) for the owner of an address is answered; None: in no one."""
    own = bytes.fromhex(Path(f"/sys/class/net/{lab.bridge}/address").read_text(encoding="ascii").replace(":", ""))
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    arp = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + own + bytes(10) + socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((lab.bridge, 0))
        wire.setsockopt(263, AUXDATA, 1)
        wire.settimeout(2)
        wire.send(b"\xff" * 6 + own + tag + arp)
        try:
            while True:
                frame, told, _flags, _from = wire.recvmsg(2048, 256)
                if frame[12:14] == b"\x08\x06" and frame[28:32] == socket.inet_aton(address):
                    return int.from_bytes(told[0][2][16:18], "little")
        except TimeoutError:
            return None


@pytest.fixture
def tagged(uml: Node, client: session.Session) -> Iterator[str]:
    """A network in a VLAN: a bridge with the host's tagged interface in it; answers its name."""
    ip(uml, "link add link eth0 name eth0.77 mtu 1400 type vlan id 77")
    ip(uml, "link set eth0.77 up")
    assert client.call(TAGGED).lacks == []
    yield TAGGED.name
    client.call(network.BridgeRemove(TAGGED.name))
    ip(uml, "link delete eth0.77")


def test_a_guest_of_a_vlan_is_reached_in_it_alone(uml: Node, client: session.Session, tagged: str) -> None:
    ip(uml, "netns add guest")
    ip(uml, "link add guest0 mtu 1400 type veth peer name eth0 netns guest")
    try:
        ip(uml, f"link set guest0 master {tagged} up")
        ip(uml, "-n guest address add 192.0.2.9/24 dev eth0")
        ip(uml, "-n guest link set eth0 up")
        wait_until(lambda: answered_in(uml.lab, 77, "192.0.2.9") == 77, "it answers in its VLAN", 30)
        assert answered_in(uml.lab, 78, "192.0.2.9") is None
        assert answered_in(uml.lab, 0, "192.0.2.9") is None
        shown = json.loads(uml.run(["ip", "-j", "link", "show"]).stdout)
        assert {each["ifname"]: each["mtu"] for each in shown}[tagged] == 1400
    finally:
        ip(uml, "link delete guest0")
        ip(uml, "netns delete guest")


@pytest.mark.parametrize("asked", UNABLE, ids=lambda asked: asked.kind)
def test_what_the_kernel_cannot_do_is_said_before_anything_is_made(
    uml: Node, client: session.Session, asked: network.BridgeEnsure
) -> None:
    before = uml.run(["ip", "link"]).stdout
    with pytest.raises(CommandFailed, match="The node's kernel has no packet filter of the family “inet”") as caught:
        client.call(asked)
    assert caught.value.data["agent_code"] == "unsupported"
    assert uml.run(["ip", "link"]).stdout == before
    assert client.call(network.BridgesRead()).bridges == []


def test_a_bond_is_taken_in_with_what_it_has(uml: Node, client: session.Session) -> None:
    for words in (
        "link add bond0 type bond mode active-backup miimon 100",
        "link add port0 type veth peer name switch0",
        "link set port0 master bond0",
        "link set switch0 up",
        "link set bond0 up",
        "address add 203.0.113.5/24 dev bond0",
        "route add 198.51.100.0/24 via 203.0.113.1",
    ):
        ip(uml, words)
    assert client.call(BOND).lacks == []
    assert "203.0.113.5/24" in uml.run(["ip", "address", "show", "vmbr-b"]).stdout
    assert "dev vmbr-b" in uml.run(["ip", "route", "get", "198.51.100.9"]).stdout
    client.call(network.BridgeRemove("vmbr-b"))
    assert "dev bond0" in uml.run(["ip", "route", "get", "198.51.100.9"]).stdout
    ip(uml, "link delete bond0")


def test_what_an_interface_may_receive_and_send_is_limited(uml: Node, client: session.Session, tagged: str) -> None:
    client.call(machine.LibvirtEnsure(), deadline=240)
    client.call(storage.PoolEnsure(directory(POOL)))
    vm, mac = str(uuid.uuid4()), "52:54:00:00:00:99"
    disk = f"{POOL}/volumes/{vm}.qcow2"
    client.call(storage.VolumeCreate(ref(disk), size_bytes=16 * 1024**2))
    limited = host.InterfaceSpec(mac=mac, bridge=tagged, inbound_kibps=2048, outbound_kibps=1024)
    spec = host.DomainSpec(
        uuid=vm,
        name="limited",
        memory_mib=64,
        vcpus=1,
        virt="qemu",
        # The node's disk tree is in memory, which no file is opened past.
        disks=[host.DiskSpec(volume=ref(disk), format="qcow2", target="vda", cache="writeback")],
        interfaces=[limited],
    )
    client.call(host.HostCreate(spec=spec), deadline=240)
    try:
        client.call(host.HostStart(uuid=vm), deadline=240)
        port = "tap" + mac.replace(":", "")
        assert "rate 16384Kbit" in uml.run(["tc", "class", "show", "dev", port]).stdout
        assert "police" in uml.run(["tc", "filter", "show", "dev", port, "parent", "ffff:"]).stdout
    finally:
        client.call(host.HostStop(uuid=vm))
        client.call(host.HostDelete(uuid=vm))
