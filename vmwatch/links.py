"""The node's network interfaces as its kernel tells of them: all at once, and when something of one changes.

By rtnetlink over a plain socket; nothing is written. Guests' own interfaces (taps) and the loopback are left out:
there are as many of them as guests, and the panel knows them.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import logging
import socket
import struct
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from vmwatch import wire

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
ERROR, DONE = 2, 3
REQUEST_DUMP = 0x301
GROUPS = 0x1 | 0x10 | 0x100
"""Links, addresses of IPv4, addresses of IPv6."""
HEADER, LINK, ADDRESS, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=BBBBi"), 4
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_STATS64, IFLA_CARRIER, IFLA_CARRIER_CHANGES = 18, 23, 33, 35
INFO_KIND, INFO_DATA, VLAN_ID = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
TYPE_MASK = 0x3FFF
SIOCETHTOOL, GET_SETTINGS, SETTINGS_BYTES = 0x8946, 1, 44
UNKNOWN_SPEEDS = (0, 0xFFFF, 0xFFFFFFFF)
GUESTS = ("tun", "macvtap")
PHYSICAL = "physical"
SETTLE_SECONDS = 0.1
"""How long is waited for more before all is looked at: one change of a bond or bridge is many messages."""
REST_SECONDS = 0.5
"""Between two looks: guests' interfaces come and go too."""
BUFFER = 1 << 18
log = logging.getLogger("vmwatch-node")
Attributes = Dict[int, bytes]


def look() -> List[wire.LinkState]:
    """All interfaces but guests' and the loopback, the physical ones first; raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(5.0)
        links = [_parse_link(body) for body in _dump(asked, GETLINK, NEWLINK)]
        addresses = [_parse_address(body) for body in _dump(asked, GETADDR, NEWADDR)]
    names = {index: attributes[IFLA_IFNAME].rstrip(b"\0").decode(errors="replace") for index, _, attributes in links}
    of_links: Dict[int, List[str]] = {}
    for index, address in addresses:
        of_links.setdefault(index, []).append(address)
    found = [
        _told(index, flags, attributes, names, of_links.get(index, []))
        for index, flags, attributes in links
        if not flags & IFF_LOOPBACK
    ]
    wanted = sorted((each for each in found if each.kind not in GUESTS), key=lambda each: each.kind != PHYSICAL)
    return wanted[: wire.MOST_LINKS]


def _dump(asked: socket.socket, request: int, answer: int) -> Iterator[bytes]:
    """What the kernel has of one kind: the bodies of its answers."""
    asked.send(HEADER.pack(HEADER.size + LINK.size, request, REQUEST_DUMP, 1, 0) + bytes(LINK.size))
    while True:
        for kind, body in _messages(asked.recv(BUFFER)):
            if kind == DONE:
                return
            if kind == ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "the kernel does not tell of its interfaces")
            if kind == answer:
                yield body


def _messages(data: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _flags, _sequence, _port = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield kind, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes, at: int = 0) -> Attributes:
    found: Attributes = {}
    while at + ATTRIBUTE <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < ATTRIBUTE:
            break
        found[kind & TYPE_MASK] = data[at + ATTRIBUTE : at + length]
        at += (length + 3) & ~3
    return found


def _parse_link(body: bytes) -> Tuple[int, int, Attributes]:
    _family, _type, index, flags, _change = LINK.unpack_from(body)
    return index, flags, _attributes(body, LINK.size)


def _parse_address(body: bytes) -> Tuple[int, str]:
    family, prefix, _flags, _scope, index = ADDRESS.unpack_from(body)
    attributes = _attributes(body, ADDRESS.size)
    # Of a point to point link the other end is the address of the former.
    packed = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS, b"")
    return index, f"{socket.inet_ntop(family, packed)}/{prefix}" if packed else ""


def _told(
    index: int, flags: int, attributes: Attributes, names: Dict[int, str], addresses: List[str]
) -> wire.LinkState:
    info = _attributes(attributes.get(IFLA_LINKINFO, b""))
    kind = info.get(INFO_KIND, b"").rstrip(b"\0").decode(errors="replace") or PHYSICAL
    vlan = _attributes(info.get(INFO_DATA, b"")).get(VLAN_ID) if kind == "vlan" else None
    up, carrier = bool(flags & IFF_UP), bool(attributes.get(IFLA_CARRIER, b"\0")[0])
    name = names[index]
    return wire.LinkState(
        name=name,
        kind=kind,
        up=up,
        carrier=up and carrier,
        mtu=_number(attributes, IFLA_MTU) or 0,
        mac=":".join(f"{byte:02x}" for byte in attributes.get(IFLA_ADDRESS, b"")),
        speed_mbps=_speed(name) if up and carrier else None,
        master=names.get(_number(attributes, IFLA_MASTER) or 0, ""),
        parent=names.get(_number(attributes, IFLA_LINK) or 0, "") if kind == "vlan" else "",
        vlan=struct.unpack_from("=H", vlan)[0] if vlan else None,
        carrier_changes=_number(attributes, IFLA_CARRIER_CHANGES) or 0,
        addresses=[each for each in addresses if each][: wire.MOST_ADDRESSES],
        **_counters(attributes.get(IFLA_STATS64, b"")),
    )


def _number(attributes: Attributes, kind: int) -> Optional[int]:
    data = attributes.get(kind)
    return int.from_bytes(data[:4], "little" if struct.pack("=H", 1)[0] else "big") if data else None


def _counters(data: bytes) -> Dict[str, Any]:
    """rtnl_link_stats64: packets, bytes, errors, dropped, each of what came and what went."""
    names = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
    values = struct.unpack_from("=8Q", data) if len(data) >= 64 else (None,) * len(names)
    return {name: value for name, value in zip(names, values) if "packets" not in name}


def _speed(name: str) -> Optional[int]:
    """Mbit/s, by ethtool's old request, which every driver answers that knows; None where it does not."""
    settings = array.array("B", struct.pack("=I", GET_SETTINGS) + bytes(SETTINGS_BYTES - 4))
    request = struct.pack("16sP16x", name.encode()[:15], settings.buffer_info()[0])
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked.fileno(), SIOCETHTOOL, request)
        low, high = struct.unpack_from("=H", settings, 12)[0], struct.unpack_from("=H", settings, 28)[0]
        speed = high << 16 | low
        return None if speed in UNKNOWN_SPEEDS else int(speed)
    return None


def shape(links: List[wire.LinkState]) -> List[Tuple[Any, ...]]:
    """What of the interfaces is worth a word when it changes: all but what they count."""
    return [
        (
            *(each.name, each.kind, each.up, each.carrier, each.mtu, each.mac, each.speed_mbps, each.master),
            *(each.parent, each.vlan, each.carrier_changes, tuple(each.addresses)),
        )
        for each in links
    ]


class LinkWatcher:
    """Tells of all interfaces when something of one changed, from a thread of its own."""

    def __init__(self, on_change: Callable[[List[wire.LinkState]], None]) -> None:
        self._on_change = on_change
        self._last: Optional[List[Tuple[Any, ...]]] = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Watch, where the kernel lets us; else full reports alone tell of interfaces."""
        try:
            heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            heard.bind((0, GROUPS))
        except OSError as error:
            log.warning("interfaces are not watched: %s", error)
            return
        threading.Thread(target=self._watch, args=(heard,), name="links", daemon=True).start()

    def now(self) -> List[wire.LinkState]:
        """All interfaces, for a full report; none where the kernel does not say."""
        try:
            found = look()
        except (OSError, ValueError, struct.error) as error:
            log.warning("interfaces cannot be looked at: %s", error)
            return []
        with self._lock:
            self._last = shape(found)
        return found

    def _watch(self, heard: socket.socket) -> None:
        while True:
            # What does not fit its buffer is lost (ENOBUFS), and does not matter: all is looked at.
            with contextlib.suppress(OSError):
                heard.recv(BUFFER)
            time.sleep(SETTLE_SECONDS)
            heard.setblocking(False)
            with contextlib.suppress(OSError):
                while heard.recv(BUFFER):
                    pass
            heard.setblocking(True)
            with self._lock:
                before = self._last
            found = self.now()
            if found and shape(found) != before:
                self._on_change(found)
            time.sleep(REST_SECONDS)
