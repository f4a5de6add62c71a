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
    body = struct.pack("!I", OVERRIDE) + address + b"\x02\x01" + mac
    pseudo = source + ALL_NODES + struct.pack("!II", len(body) + 4, 58)
    message = struct.pack("!BBH", 136, 0, _checksum(pseudo + struct.pack("!BBH", 136, 0, 0) + body)) + body
    header = struct.pack("!IHBB", 0x60000000, len(message), 58, 255) + source + ALL_NODES
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", 0x86DD) + header + message


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
