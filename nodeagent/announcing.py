"""Telling the neighbours of an interface that an address is here now: gratuitous ARP, unsolicited advertisements."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct

from nodeagent import hostnet
from nodeagent.job import Job

EVERYBODY = b"\xff" * 6
ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
OVERRIDE = 0x20000000
IPV6 = 0x86DD


def announce(interface: str, address: str, job: Job) -> None:
    """Say it once; one that cannot be said is asked for by the neighbours in time."""
    mac = bytes.fromhex(str(hostnet.ip(["link", "show", "dev", interface], job)[0]["address"]).replace(":", ""))
    found = ipaddress.ip_address(address)
    frame = _arp(mac, found.packed) if found.version == 4 else _advertisement(mac, found.packed)
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        sender.send(frame)


def _arp(mac: bytes, address: bytes) -> bytes:
    """RFC 5227, 2.3: a request for its own address."""
    asked = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address
    return EVERYBODY + mac + struct.pack("!H", 0x0806) + asked


def _advertisement(mac: bytes, address: bytes) -> bytes:
    """RFC 4861, 4.4, with the target's link-layer address."""
    source = ipaddress.IPv6Address(hostnet.link_local(":".join(f"{byte:02x}" for byte in mac))).packed
    body = struct.pack("!BBHI", 136, 0, 0, OVERRIDE) + address + b"\x02\x01" + mac
    return neighbour_frame(mac, source, ALL_NODES, body)


def neighbour_frame(mac: bytes, source: bytes, group: bytes, message: bytes) -> bytes:
    """An Ethernet frame to a multicast group with a message of neighbour discovery, whose checksum is filled in."""
    pseudo = source + group + struct.pack("!II", len(message), 58)
    whole = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 0x60000000, len(whole), 58, 255) + source + group
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", IPV6) + header + whole


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
