"""Addresses of callers: in ranges, and by what they are counted, as far as somebody has them one by one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

SUBNET_BITS = 64
"""Of IPv6 everybody has at least so large a network, and may call from another address of it each time."""


def counted_as(address: str) -> str:
    """What stands for the caller at this address: an IPv4 address itself, of an IPv6 one its network.

    What is no address, such as "" for a caller on a Unix socket, stands for itself.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), SUBNET_BITS), strict=False))


def in_ranges(address: str, ranges: Sequence[str]) -> bool:
    """Whether the address is in one of the ranges; an address that is none is in no range."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in ipaddress.ip_network(each) for each in ranges)
