"""Frames that a guest may send, and those by which it would be somebody else; and who hears which of them.

Each bears its name at its end, so that whoever hears it knows it.
"""

from __future__ import annotations

import ipaddress
import struct
import subprocess
import sys

from tests.contract.bridges import FarEnd

END = "the last one"
HEAR = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("far0", 0))
print("up", flush=True)
wire.settimeout(20)
while True:
    name = wire.recv(2048).partition(b"<<")[2].partition(b">>")[0].decode().strip(".")
    if name:
        print(name, flush=True)
    if name == sys.argv[1]:
        break
"""
SEND = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("far0", 0))
for each in sys.argv[1:]:
    wire.send(bytes.fromhex(each))
"""
EVERYBODY = b"\xff" * 6
ALL_NODES = "ff02::1"
NAMELESS = b"<<" + b"." * 60 + b">>"
"""Where a frame's name will be."""


def mac(text: str) -> bytes:
    """A MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    """An IP address."""
    return ipaddress.ip_address(address).packed


class Sender:
    """Who a guest says that it is: makes its frames."""

    def __init__(self, hardware: str) -> None:
        self.mac = mac(hardware)

    def frame(self, kind: int, body: bytes, to: bytes = EVERYBODY) -> bytes:
        """An Ethernet frame."""
        return to + self.mac + struct.pack("!H", kind) + body + NAMELESS

    def arp(self, operation: int, sender: str, target: str, hardware: bytes | None = None) -> bytes:
        """A request (1) or an answer (2)."""
        head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        return self.frame(0x0806, head + (hardware or self.mac) + packed(sender) + bytes(6) + packed(target))

    def four(self, source: str, protocol: int = 1, body: bytes = bytes(8)) -> bytes:
        """A packet of IPv4 to everybody."""
        length = 20 + len(body) + len(NAMELESS)
        head = struct.pack("!BBHHHBB", 0x45, 0, length, 0, 0, 64, protocol), packed(source) + packed("255.255.255.255")
        total = sum(struct.unpack("!9H", b"".join(head)))
        checksum = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
        return self.frame(0x0800, head[0] + checksum + head[1] + body)

    def six(self, source: str, kind: int, body: bytes, to: str = ALL_NODES) -> bytes:
        """A packet of IPv6 to a group."""
        length = len(body) + len(NAMELESS)
        head = struct.pack("!IHBB", 0x60000000, length, kind, 255) + packed(source) + packed(to)
        return self.frame(0x86DD, head + body, b"\x33\x33" + packed(to)[12:])

    def icmp(self, source: str, kind: int, body: bytes, to: str = ALL_NODES) -> bytes:
        """A message of ICMPv6."""
        return self.six(source, 58, struct.pack("!BBHI", kind, 0, 0, 0) + body, to)


def udp(source: int, target: int) -> bytes:
    """A datagram's header, and a few bytes."""
    return struct.pack("!HHHH", source, target, 16, 0) + bytes(8)


def reports(port: int, source: str) -> tuple[str, int, bytes]:
    """Datagrams as six() takes them."""
    return source, 17, udp(port, 546)


def proper(hardware: str, local: str, addresses: list[str]) -> dict[str, bytes]:
    """What a guest with these addresses sends, and must be let out; `local` is its link-local one."""
    guest, found = Sender(hardware), {}
    for each in addresses:
        if ":" in each:
            found[f"echo of {each}"] = guest.icmp(each, 128, bytes(8))
            found[f"who has, asked by {each}"] = guest.icmp(each, 135, packed("2001:db8::1"), "ff02::1:ff00:1")
            found[f"advertisement of {each}"] = guest.icmp(each, 136, packed(each))
            found[f"is {each} anybody's"] = guest.icmp("::", 135, packed(each), "ff02::1:ff00:9")
        else:
            found[f"ping of {each}"] = guest.four(each)
            found[f"who has, asked by {each}"] = guest.arp(1, each, "192.0.2.1")
            found[f"{each} is here"] = guest.arp(1, each, each)
            found[f"answer of {each}"] = guest.arp(2, each, "192.0.2.1")
            found[f"is {each} anybody's"] = guest.arp(1, "0.0.0.0", each)
            found[f"lease of {each} renewed"] = guest.four(each, 17, udp(68, 67))
    found |= {
        "lease wanted": guest.four("0.0.0.0", 17, udp(68, 67)),
        "lease of IPv6 wanted": guest.six(local, 17, udp(546, 547), "ff02::1:2"),
        "is the link-local address anybody's": guest.icmp("::", 135, packed(local), "ff02::1:ff12:3456"),
        "advertisement of the link-local address": guest.icmp(local, 136, packed(local)),
        "router wanted": guest.icmp("::", 133, b"", "ff02::2"),
        "router wanted by its link-local address": guest.icmp(local, 133, b"", "ff02::2"),
        "where it is": guest.frame(0x8035, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + guest.mac + bytes(14)),
    }
    return found


HOP_BY_HOP = bytes([58, 0, 5, 2, 0, 0, 1, 0])
"""The header of that name with a router alert (RFC 2711) before ICMPv6."""
OPTIONS = bytes([58, 0, 1, 4, 0, 0, 0, 0])
FRAGMENT = bytes([58, 0, 0, 1, 0, 0, 0, 7])
"""Of the first fragment, of which more follow."""


def improper(hardware: str, local: str, addresses: list[str]) -> dict[str, bytes]:
    """What would make it somebody else: a guest of these addresses, a router, a server of addresses, a switch."""
    guest, stranger = Sender(hardware), Sender("52:54:00:66:66:66")
    four = next(each for each in addresses if ":" not in each)
    six = next(each for each in addresses if ":" in each)
    advert = struct.pack("!BBHI", 134, 0, 0, 0) + bytes(8)
    tagged = struct.pack("!HH", 7, 0x0800) + guest.four(four)[14 : -len(NAMELESS)]
    return {
        "another MAC address": stranger.four(four),
        "another MAC address of IPv6": stranger.icmp(six, 128, bytes(8)),
        "another MAC address of ARP": stranger.arp(1, four, "192.0.2.1"),
        "another IPv4 address": guest.four("192.0.2.1"),
        "no IPv4 address": guest.four("0.0.0.0"),
        "another IPv6 address": guest.icmp("2001:db8::1", 128, bytes(8)),
        "no IPv6 address": guest.icmp("::", 128, bytes(8)),
        "another link-local address": guest.icmp("fe80::1", 128, bytes(8)),
        "ARP for another": guest.arp(2, "192.0.2.1", four),
        "another is here": guest.arp(1, "192.0.2.1", "192.0.2.1"),
        "ARP of another MAC address": guest.arp(2, four, "192.0.2.1", stranger.mac),
        "is another's IPv4 anybody's": guest.arp(1, "0.0.0.0", "192.0.2.1"),
        "is another's IPv6 anybody's": guest.icmp("::", 135, packed("2001:db8::1"), "ff02::1:ff00:1"),
        "who has, asked by another": guest.icmp("2001:db8::1", 135, packed(six), "ff02::1:ff00:9"),
        "advertisement of another": guest.icmp(six, 136, packed("2001:db8::1")),
        "advertisement of the router's": guest.icmp(local, 136, packed("fe80::1")),
        "router advertisement": guest.six(local, 58, advert),
        "router advertisement behind hop-by-hop options": guest.six(local, 0, HOP_BY_HOP + advert),
        "router advertisement behind options": guest.six(local, 60, OPTIONS + advert),
        "router advertisement in a fragment": guest.six(local, 44, FRAGMENT + advert),
        "advertisement of another behind options": guest.six(
            local, 60, OPTIONS + struct.pack("!BBHI", 136, 0, 0, 0) + packed("2001:db8::1")
        ),
        "redirect": guest.icmp(local, 137, packed(six) * 2),
        "DHCP server": guest.four(four, 17, udp(67, 68)),
        "DHCP server without an address": guest.four("0.0.0.0", 17, udp(67, 68)),
        "DHCPv6 server": guest.six(*reports(547, local)),
        "DHCPv6 server with an address": guest.six(*reports(547, six)),
        "a tagged frame": guest.frame(0x8100, tagged),
        "a twice tagged frame": guest.frame(0x88A8, struct.pack("!HH", 7, 0x8100) + tagged),
        "a switch's frame": guest.frame(3 + len(NAMELESS), b"\x42\x42\x03", b"\x01\x80\xc2\x00\x00\x00"),
        "LLDP": guest.frame(0x88CC, bytes(46), b"\x01\x80\xc2\x00\x00\x0e"),
    }


def heard(by: FarEnd, sender: FarEnd, frames: dict[str, bytes], last: bytes) -> set[str]:
    """Which of the frames somebody hears when they are sent; `last` is one that he is sure to hear."""
    inside = ["nsenter", f"--net=/proc/{by.process.pid}/ns/net", sys.executable, "-c", HEAR, END]
    listener = subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None and listener.stdout.readline() == "up\n"
    marked = [frame.replace(NAMELESS, f"<<{name:.<60}>>".encode()) for name, frame in [*frames.items(), (END, last)]]
    sender.run(sys.executable, "-c", SEND, *(each.hex() for each in marked))
    return {*listener.communicate(timeout=30)[0].splitlines()} - {END}
