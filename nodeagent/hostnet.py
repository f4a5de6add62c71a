"""The host's network as `ip` shows it, and what of it is the host's own, which we neither take nor overlap."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
from pathlib import Path
from typing import Any, Container, Dict, Iterator, List, Set

from nodeagent.job import Job
from nodeagent.protocol.network import HostNetwork
from nodeagent.run import run

MARK = "vmpanel"
"""The alias of the interfaces that we make, or its first word."""
LONGEST_NAME = 16
"""What the kernel has for an interface's name, with the NUL at its end."""
SYSCTL = Path("/proc/sys/net")
LEAST_PREFIX = 8
"""Routes of fewer bits are default routes, whole or in parts."""
_KINDS = ("unicast", "blackhole", "unreachable", "prohibit", "throw")


def ip(argv: List[str], job: Job) -> List[Dict[str, Any]]:
    """What `ip` shows. Asked by netlink and not read in /sys, which may be another network namespace's."""
    return _shown("ip", argv, job)


def bridge(argv: List[str], job: Job) -> List[Dict[str, Any]]:
    """What `bridge` shows."""
    return _shown("bridge", argv, job)


def _shown(program: str, argv: List[str], job: Job) -> List[Dict[str, Any]]:
    shown = json.loads(run([program, "-j", *argv], job).stdout or "[]")
    return [entry for entry in shown if entry]


def way_to(address: str, job: Job) -> str:
    """The interface by which the host sends to the address; "" where it has no way there."""
    shown = run(["ip", "-j", "route", "get", address], job, check=False)
    return "" if shown.exit_code else str(json.loads(shown.stdout)[0].get("dev", ""))


def sysctl(name: str, value: str = "") -> str:
    """The kernel's setting under net/ ("ipv6/conf/all/forwarding"), set to the value if one is given.

    "" where the kernel has no such setting: one of IPv6 on a host without it.
    """
    with contextlib.suppress(FileNotFoundError):
        path = SYSCTL / name
        if value and path.read_text(encoding="ascii").strip() != value:
            path.write_text(f"{value}\n", encoding="ascii")
        return path.read_text(encoding="ascii").strip()
    return ""


def links(job: Job) -> Dict[str, bool]:
    """The names of all interfaces, and whether it is a bridge that we made."""
    there = bridges(job)
    return {entry["ifname"]: entry["ifname"] in there and _is_ours(entry) for entry in ip(["link", "show"], job)}


def bridges(job: Job) -> Set[str]:
    """The names of all bridges."""
    return {entry["ifname"] for entry in ip(["link", "show", "type", "bridge"], job)}


def bridge_mac(name: str) -> str:
    """The MAC address of a bridge of ours, locally administered, from its name."""
    digest = hashlib.sha256(name.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def link_local(mac: str) -> str:
    """The link-local address that is made from the MAC address (RFC 4291, appendix A)."""
    parts = [int(part, 16) for part in mac.split(":")]
    eui = [parts[0] ^ 2, parts[1], parts[2], 0xFF, 0xFE, *parts[3:]]
    return str(ipaddress.IPv6Address(bytes([0xFE, 0x80, *[0] * 6, *eui])))


def _is_ours(link: Dict[str, Any]) -> bool:
    alias = str(link.get("ifalias", ""))
    return alias == MARK or alias.startswith(f"{MARK} ") or link.get("address") == bridge_mac(link["ifname"])


def networks(but: Container[str], job: Job) -> List[HostNetwork]:
    """The address ranges that the host uses on other interfaces than these, those for its default route left out."""
    found = [*_addresses(but, job), *_routes(but, job), *_panel()]
    return sorted({each.network: each for each in reversed(found)}.values(), key=lambda each: each.network)


def overlaps(subnet: ipaddress.IPv4Network, bridge: str, job: Job) -> List[str]:
    """How the host uses addresses of the subnet on other interfaces than the bridge."""
    used = networks({bridge}, job)
    return [each.how for each in used if subnet.overlaps(ipaddress.IPv4Network(each.network))]


def _addresses(but: Container[str], job: Job) -> Iterator[HostNetwork]:
    for entry in ip(["-4", "address", "show"], job):
        if entry["ifname"] in but:
            continue
        for each in entry.get("addr_info", []):
            text = f"{each['local']}/{each['prefixlen']}"
            network = ipaddress.IPv4Network(text, strict=False)
            yield HostNetwork(str(network), f"the address {text} of {entry['ifname']}")
            if "address" in each:
                # The other end of a point-to-point connection.
                yield HostNetwork(f"{each['address']}/32", f"the address {each['address']} beyond {entry['ifname']}")


def _routes(but: Container[str], job: Job) -> Iterator[HostNetwork]:
    for route in ip(["-4", "route", "show", "table", "all"], job):
        if route.get("type", "unicast") not in _KINDS or route.get("dev") in but:
            continue
        with contextlib.suppress(ValueError):
            network = ipaddress.IPv4Network(route["dst"])
            if network.prefixlen >= LEAST_PREFIX and not network.is_loopback:
                way = f" by {route['dev']}" if "dev" in route else f" ({route['type']})" if "type" in route else ""
                yield HostNetwork(str(network), f"the route to {network}{way}")


def _panel() -> Iterator[HostNetwork]:
    """Where the panel is that speaks with us: an address that must stay reachable."""
    client = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    with contextlib.suppress(ValueError):
        address = ipaddress.IPv4Address(client)
        if not address.is_loopback:
            yield HostNetwork(f"{address}/32", f"the panel's own address {address}")
