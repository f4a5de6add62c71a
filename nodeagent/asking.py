"""Whether a guest has its address up, asked at its port: for networks that the node is not in itself.

What is asked is whether anybody has the address (RFC 5227, 2.1.1; RFC 4862, 5.4.2). The question bears no address of
the node's, and goes to the guest alone.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time

from nodeagent import hostnet
from nodeagent.announcing import EVERYBODY, IPV6, neighbour_frame
from nodeagent.job import Job

ONCE_SECONDS = 1.0
EVERY_FRAME = 0x0003
LONGEST_FRAME = 2048
ARP = 0x0806
NOBODY = ipaddress.IPv6Address("::").packed
SOLICITATION, ADVERTISEMENT = 135, 136


def answers(port: str, address: str, job: Job) -> bool:
    """Whether the guest at the port (an interface of the node's) says within a second that it has the address."""
    shown = [each for each in hostnet.ip(["link", "show"], job) if each["ifname"] == port]
    if not shown:
        return False
    mac, asked = bytes.fromhex(str(shown[0]["address"]).replace(":", "")), ipaddress.ip_address(address).packed
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_FRAME)) as wire:
            wire.bind((port, 0))
            wire.send(_arp(mac, asked) if len(asked) == 4 else _solicitation(mac, asked))
            return _hears(wire, asked)
    except OSError:
        return False


def _hears(wire: socket.socket, asked: bytes) -> bool:
    until = time.monotonic() + ONCE_SECONDS
    while (left := until - time.monotonic()) > 0:
        wire.settimeout(left)
        if _says(wire.recv(LONGEST_FRAME), asked):
            return True
    return False


def _says(frame: bytes, asked: bytes) -> bool:
    """Whether the frame is an answer from whoever has the address."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP:
        return frame[20:22] == b"\x00\x02" and frame[28:32] == asked
    return kind == IPV6 and frame[20] == 58 and frame[54] == ADVERTISEMENT and frame[62:78] == asked


def _arp(mac: bytes, address: bytes) -> bytes:
    asked = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address
    return EVERYBODY + mac + struct.pack("!H", ARP) + asked


def _solicitation(mac: bytes, address: bytes) -> bytes:
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + address[13:]
    return neighbour_frame(mac, NOBODY, group, struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + address)
