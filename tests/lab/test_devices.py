"""Devices of a VM on a real host: disks, the drive for ISO images, interfaces, and the filter at its port."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import LabError, Node
from tests.stack import Stack, done, wait_until

GIB = 1024**3
VIRSH = ("virsh", "-q", "-c", "qemu:///system")


@dataclass
class Guest:
    """A running VM from the tiny image, with what reaches it."""

    api: httpx.Client
    node: Node
    id: int
    name: str
    address: str
    key: str

    @property
    def path(self) -> str:
        """The VM's address in the API."""
        return f"vms/{self.id}"

    def shown(self) -> dict[str, Any]:
        """The VM as the API shows it."""
        return dict(self.api.get(self.path).json())

    def run(self, *command: str) -> str:
        """What a command prints inside."""
        return ssh(self.node, self.key, "root", self.address, *command)

    def do(self, verb: str, **raw: Any) -> dict[str, Any]:
        """The operation, which ends well; answers its task's result."""
        return dict(done(self.api, self.api.post(f"{self.path}/{verb}", json=raw))["result"] or {})

    def disks(self) -> dict[str, int]:
        """The guest's disks with their sizes in bytes."""
        rows = self.run("cat", "/proc/partitions").splitlines()[2:]
        sizes = {row.split()[3]: int(row.split()[2]) * 1024 for row in rows}
        return {name: size for name, size in sizes.items() if name.startswith("vd") and name[-1].isalpha()}

    def scsi_disks(self) -> int:
        """How many disks there are on the guest's SCSI bus, for which it has no driver."""
        kinds = self.run("sh", "-c", "'cat /sys/bus/scsi/devices/*/type 2>/dev/null'").split()
        return kinds.count("0")

    def virsh(self, *words: str) -> str:
        """What virsh prints about the domain."""
        return self.node.run([*VIRSH, words[0], self.name, *words[1:]]).stdout

    def answers(self) -> bool:
        """Whether one can sign in."""
        try:
            return self.run("true") == ""
        except LabError:
            return False


def make_guest(api: httpx.Client, node: Node, name: str, key: tuple[str, str]) -> Guest:
    """A new VM that answers."""
    raw = {"name": name, "image": "tiny", "flavor": "tiny", "node": node.name, "ssh_keys": [key[1]]}
    answer = api.post("vms", json=raw)
    done(api, answer)
    created = answer.json()
    return Guest(api, node, created["vm"], name, created["address"], key[0])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


@pytest.fixture(scope="module")
def guest(cluster: list[Node], api: httpx.Client, key: tuple[str, str]) -> Iterator[Guest]:
    """A VM for all these tests; nothing of it is left when it is deleted."""
    node = cluster[0]
    guest = make_guest(api, node, "devices", key)
    yield guest
    done(api, api.delete(guest.path))
    assert remains(node) == NOTHING
    assert "vmpanel_guard" not in node.run(["nft", "list", "tables"]).stdout


def test_a_disk_comes_grows_and_goes_while_the_guest_runs(guest: Guest) -> None:
    assert guest.do("add-disk", size_gib=1) == {"disk": "vdb", "at_next_start": False}
    assert guest.do("add-disk", size_gib=1, bus="scsi", cache="writeback") == {"disk": "sdc", "at_next_start": False}
    wait_until(lambda: "vdb" in guest.disks() and guest.scsi_disks() == 1, "the guest has both", 20)
    assert guest.disks()["vdb"] == GIB

    guest.do("grow-disk", disk="vdb", size_gib=3)
    wait_until(lambda: guest.disks()["vdb"] == 3 * GIB, "the guest sees its new size", 20)
    volumes = "/var/lib/vmpanel/pool/volumes"
    assert len(guest.node.run(["ls", volumes]).stdout.split()) == 3

    guest.do("remove-disk", disk="vdb")
    guest.do("remove-disk", disk="sdc")
    assert set(guest.disks()) == {"vda"} and guest.scsi_disks() == 0
    assert [disk["target"] for disk in guest.shown()["disks"]] == ["vda"]
    assert len(guest.node.run(["ls", volumes]).stdout.split()) == 1
    assert "vdb" not in guest.virsh("dumpxml", "--inactive")


def test_the_first_disk_is_not_removed(guest: Guest) -> None:
    refused = guest.api.post(f"{guest.path}/remove-disk", json={"disk": "vda"})
    assert (refused.status_code, refused.json()["field"]) == (400, "disk")


def test_a_disk_that_does_not_fit_is_refused_with_what_the_node_lacks(guest: Guest) -> None:
    for verb, raw in (("add-disk", {"size_gib": 65000}), ("grow-disk", {"disk": "vda", "size_gib": 65000})):
        refused = guest.api.post(f"{guest.path}/{verb}", json=raw).json()
        assert (refused["code"], refused["field"]) == ("no_capacity", "size_gib")
        assert guest.node.name in refused["candidates"]


def test_limits_are_live_and_stay(guest: Guest) -> None:
    limits = {"read_bytes_sec": 10_000_000, "write_bytes_sec": 5_000_000, "read_iops_sec": 500, "write_iops_sec": 400}
    assert not guest.do("change-disk", disk="vda", **limits)["at_next_start"]
    for where in ("--live", "--config"):
        shown = dict(line.split(":") for line in guest.virsh("blkdeviotune", "vda", where).splitlines() if ":" in line)
        found = {name.strip(): int(value) for name, value in shown.items() if value.strip().isdigit()}
        assert {name: found[name] for name in limits} == limits
    guest.do("change-disk", disk="vda", **dict.fromkeys(limits, 0))
    assert "iotune" not in guest.virsh("dumpxml", "--inactive")


def test_a_disk_on_sata_and_a_changed_bus_come_at_the_next_start(guest: Guest) -> None:
    assert guest.do("add-disk", size_gib=1, bus="sata") == {"disk": "sdc", "at_next_start": True}
    assert guest.do("change-disk", disk="sdc", bus="virtio", cache="writethrough") == {
        "disk": "vdb",
        "at_next_start": True,
    }
    done(guest.api, guest.api.post(f"{guest.path}/force-off", json={}))
    guest.do("grow-disk", disk="vdb", size_gib=2)
    done(guest.api, guest.api.post(f"{guest.path}/start", json={}))
    wait_until(guest.answers, "it answers", 60)
    assert guest.disks()["vdb"] == 2 * GIB
    guest.do("remove-disk", disk="vdb")


FREE = "10.77.0.200"
GATEWAY = "10.77.0.1"
BRIDGE = "vmbr-nat0"
STRANGER = "52:54:00:99:99:99"


def reached(node: Node, address: str) -> bool:
    """Whether the node gets an answer from the address, asking anew who has it."""
    node.run(["ip", "neigh", "flush", "all"])
    program = "ping6" if ":" in address else "ping"
    return node.run(["busybox", program, "-c", "1", "-W", "2", address], check=False).returncode == 0


def sends_from(guest: Guest, source: str) -> bool:
    """Whether the guest gets an answer from the gateway to a packet from this address or interface."""
    script = f"ping -c 1 -W 2 -I {source} {GATEWAY} > /dev/null && echo yes"
    return guest.run("sh", "-c", f"'{script}; true'") == "yes"


def link_local(mac: str) -> str:
    """The address that IPv6 makes of a MAC address, at the node's bridge."""
    part = mac.split(":")
    return f"fe80::{int(part[0], 16) ^ 2:x}{part[1]}:{part[2]}ff:fe{part[3]}:{part[4]}{part[5]}%{BRIDGE}"


def take_mac(guest: Guest, mac: str) -> None:
    """In a moment the guest has another MAC address, for ten seconds; then it is itself again."""
    own = guest.shown()["interfaces"][0]["mac"]

    def become(address: str) -> str:
        # Addresses of IPv4 stay while a link is down.
        return f"ip link set eth0 down; ip link set eth0 address {address}; ip link set eth0 up"

    script = f"sleep 1; {become(mac)}; sleep 10; {become(own)}"
    guest.run("sh", "-c", f"'({script}) < /dev/null > /dev/null 2>&1 &'")


def carries(guest: Guest, mac: str) -> bool:
    """Whether the guest answers under this MAC address."""
    answered = reached(guest.node, guest.address)
    shown = guest.node.run(["ip", "neigh", "show", guest.address, "dev", BRIDGE]).stdout
    return answered and mac in shown


def test_a_guest_sends_from_no_other_ipv4_address_and_answers_for_none(guest: Guest) -> None:
    assert guest.shown()["interfaces"][0]["guarded"]
    assert reached(guest.node, guest.address) and sends_from(guest, guest.address)
    guest.run("ip", "addr", "add", f"{FREE}/24", "dev", "eth0")
    try:
        assert not reached(guest.node, FREE)
        assert not sends_from(guest, FREE)
        assert reached(guest.node, guest.address)

        # It is the anti-spoofing filter that holds it back: without one it gets through, until it is filtered again.
        mac = guest.shown()["interfaces"][0]["mac"]
        guest.do("change-interface", interface=mac, guarded=False)
        assert reached(guest.node, FREE) and sends_from(guest, FREE)
        guest.do("change-interface", interface=mac, guarded=True)
        assert not reached(guest.node, FREE) and not sends_from(guest, FREE)
    finally:
        guest.run("ip", "addr", "del", f"{FREE}/24", "dev", "eth0")


def test_a_guest_has_no_other_ipv6_address(guest: Guest) -> None:
    own = link_local(guest.shown()["interfaces"][0]["mac"])
    wait_until(lambda: reached(guest.node, own), "its own address answers", 30)
    guest.run("ip", "addr", "add", "fe80::99/64", "dev", "eth0")
    try:
        assert not reached(guest.node, f"fe80::99%{BRIDGE}")
        assert reached(guest.node, own)
    finally:
        guest.run("ip", "addr", "del", "fe80::99/64", "dev", "eth0")


def test_a_guest_has_no_other_mac_address(guest: Guest) -> None:
    own = guest.shown()["interfaces"][0]["mac"]
    take_mac(guest, STRANGER)
    wait_until(lambda: not reached(guest.node, guest.address), "it is not reached under another", 30)
    wait_until(lambda: carries(guest, own), "it is reached under its own", 60)

    guest.do("change-interface", interface=own, guarded=False)
    take_mac(guest, STRANGER)
    wait_until(lambda: carries(guest, STRANGER), "without an anti-spoofing filter it is", 30)
    wait_until(lambda: carries(guest, own), "it is itself again", 60)
    guest.do("change-interface", interface=own, guarded=True)
    assert guest.answers()


def test_filters_come_back_with_a_check_of_the_node(guest: Guest) -> None:
    node_id = guest.api.get("nodes", params={"name": guest.node.name}).json()["results"][0]["id"]
    guest.node.run(["nft", "delete", "table", "bridge", "vmpanel_guard"])
    done(guest.api, guest.api.post(f"nodes/{node_id}/check", json={}))
    port = "tap" + guest.shown()["interfaces"][0]["mac"].replace(":", "")
    assert port in guest.node.run(["nft", "list", "table", "bridge", "vmpanel_guard"]).stdout


@pytest.fixture(scope="module")
def iso(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ISO image whose program writes "ISO" to the serial port for as long as it runs."""
    work, name = tmp_path_factory.mktemp("iso"), "startable"
    # mov dx, 0x3f8; for each letter mov al, letter and out dx, al; mov cx, 0xffff; loop to itself; jmp to the letters
    letters = b"".join(bytes([0xB0, letter, 0xEE]) for letter in b"ISO\n") + bytes.fromhex("b9ffffe2fe")
    code = bytes.fromhex("baf803") + letters + bytes([0xEB, 256 - len(letters) - 2])
    (work / "start.bin").write_bytes(code.ljust(2048, b"\0"))
    file = stack.layout.images / f"{name}.iso"
    argv = ["genisoimage", "-quiet", "-o", str(file), "-b", "start.bin", "-no-emul-boot", "-boot-load-size", "4"]
    subprocess.run([*argv, "-c", "boot.cat", str(work)], check=True)
    stack.manage("iso_register", str(file), "--title", "To start from")
    return name


def power_cycle(guest: Guest) -> None:
    """The guest is off and started again."""
    done(guest.api, guest.api.post(f"{guest.path}/force-off", json={}))
    done(guest.api, guest.api.post(f"{guest.path}/start", json={}))


def test_an_iso_is_mounted_started_from_and_ejected(guest: Guest, iso: str) -> None:
    # Other tests of the same panel may have registered some.
    assert iso in [each["name"] for each in guest.api.get("isos").json()["results"]]
    assert guest.do("mount-iso", iso=iso, boot=True) == {"at_next_start": False}
    assert (guest.shown()["iso"], guest.shown()["boot_iso"]) == (iso, True)
    for where in ((), ("--inactive",)):
        assert "/images/" in guest.virsh("domblklist", *where)
    power_cycle(guest)
    try:
        serial = guest.virsh("ttyconsole").strip()
        read = ["timeout", "60", "sh", "-c", f"grep -m 1 -a ISO < {serial}"]
        assert guest.node.run(read).stdout.strip() == "ISO"
    finally:
        assert guest.do("eject-iso") == {"at_next_start": False}
    for where in ((), ("--inactive",)):
        assert "/images/" not in guest.virsh("domblklist", *where)
    power_cycle(guest)
    wait_until(guest.answers, "it starts from its disk", 120)


def guest_macs(guest: Guest) -> list[str]:
    """The MAC addresses of the guest's interfaces."""
    return guest.run("sh", "-c", "'cat /sys/class/net/e*/address'").split()


def test_an_interface_comes_is_limited_and_goes_while_the_guest_runs(guest: Guest) -> None:
    added = guest.do("add-interface")
    mac = added["interface"]
    assert not added["at_next_start"]
    wait_until(lambda: mac in guest_macs(guest), "the guest has it", 20)
    device = guest.run("sh", "-c", f"'grep -l {mac} /sys/class/net/e*/address'").split("/")[4]
    guest.run("sh", "-c", f"'ip addr add {added['address']}/24 dev {device}; ip link set {device} up'")
    wait_until(lambda: sends_from(guest, device), "it sends from its new address", 20)

    guest.do("remove-interface", interface=mac)
    assert mac not in guest_macs(guest)
    assert mac not in guest.virsh("dumpxml", "--inactive")
    assert mac.replace(":", "") not in guest.node.run(["nft", "list", "ruleset"]).stdout
    assert [each["address"] for each in guest.shown()["interfaces"]] == [guest.address]


def shapes(node: Node) -> bool:
    """Whether the kernel has what libvirt limits interfaces by."""
    script = "ip link add probe0 type dummy && tc qdisc add dev probe0 root sfq perturb 10; r=$?; ip link del probe0"
    return node.run(["sh", "-c", f"{script}; exit $r"], check=False).returncode == 0


def test_an_interface_s_limits_are_live_and_stay(guest: Guest) -> None:
    if not shapes(guest.node):
        pytest.skip("this kernel has no sfq queue, which libvirt needs to limit an interface")
    mac = guest.shown()["interfaces"][0]["mac"]
    limits = {"inbound.average:": "2048", "outbound.average:": "1024"}
    guest.do("change-interface", interface=mac, inbound_kibps=2048, outbound_kibps=1024)
    for where in ("--live", "--config"):
        words = guest.virsh("domiftune", mac, where).split()
        assert {name: words[words.index(name) + 1] for name in limits} == limits
    guest.do("change-interface", interface=mac, inbound_kibps=0, outbound_kibps=0)


@pytest.fixture
def other(guest: Guest) -> Iterator[str]:
    """Another network, which is gone from the nodes when it is removed; answers its path."""
    raw = {"name": "other", "bridge": "vmbr-nat1", "subnet": "10.78.0.0/24", "ranges": ["10.78.0.10-10.78.0.20"]}
    task = done(guest.api, guest.api.post("networks", json=raw))
    path = f"networks/{task['object_id']}"
    yield path
    assert "vmbr-nat1" in guest.node.run(["ip", "link"]).stdout
    done(guest.api, guest.api.delete(path))
    for what in (["ip", "link"], ["nft", "list", "ruleset"]):
        assert "vmbr-nat1" not in guest.node.run(what).stdout.replace("_", "-")


def test_an_interface_moves_to_another_network_and_back(guest: Guest, other: str) -> None:
    mac = guest.do("add-interface")["interface"]
    port = "tap" + mac.replace(":", "")
    moved = guest.do("change-interface", interface=mac, network="other")
    assert moved["address"] == "10.78.0.10" and not moved["at_next_start"]
    assert "master vmbr-nat1" in guest.node.run(["ip", "link", "show", port]).stdout
    assert "10.78.0.10" in guest.node.run(["nft", "list", "ruleset"]).stdout

    changed = guest.do("change-interface", interface=mac, mac="52:54:00:AA:00:01", network="private")
    assert changed["interface"] == "52:54:00:aa:00:01"
    wait_until(lambda: "52:54:00:aa:00:01" in guest_macs(guest), "the guest has its new MAC address", 20)
    assert "10.78.0.10" not in guest.node.run(["nft", "list", "ruleset"]).stdout
    assert port not in guest.node.run(["ip", "link"]).stdout
    guest.do("remove-interface", interface="52:54:00:aa:00:01")


def test_a_guest_has_the_addresses_of_all_its_interfaces(guest: Guest, other: str) -> None:
    added = guest.do("add-interface", network="other")
    refused = guest.api.delete(other)
    assert refused.status_code == 409 and guest.name in refused.json()["detail"]
    power_cycle(guest)
    wait_until(guest.answers, "it starts", 120)
    shown = guest.run("ip", "-4", "addr")
    assert f"inet {guest.address}/24" in shown and f"inet {added['address']}/24" in shown
    guest.do("remove-interface", interface=added["interface"])
