"""Host names and names of addresses: what is a name, and in which zone an address has its own."""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Iterable

HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
LONGEST = 253
FIELDS = {"name", "ip", "domain"}
NIBBLE, OCTETS_ZONE, V4_BITS = 4, 24, 32
NOT_A_NAME = "must be a full host name, as mail.example.org"


def host_name(text: str) -> str:
    """The name as it is kept: small letters, without the last dot. Raises ValueError for what is no full host name."""
    found = text.strip().lower().removesuffix(".")
    labels = found.split(".")
    fits = len(labels) > 1 and len(found) <= LONGEST and all(HOST_LABEL.match(each) for each in labels)
    if not fits or labels[-1].isdigit():
        raise ValueError(NOT_A_NAME)
    return found


def template(text: str) -> str:
    """A template of names; raises ValueError for fields that there are not, and for what could make no name."""
    found = text.strip().lower().removesuffix(".")
    try:
        fields = {field for _text, field, spec, how in string.Formatter().parse(found) if field is not None}
    except ValueError:
        fields = {""}
    if not fields <= FIELDS:
        raise ValueError("may have the fields {name}, {ip} and {domain}, and no others")
    if found:
        host_name(filled(found, "web1", "192.0.2.1", "example.org"))
    return found


def filled(pattern: str, name: str, ip: str, domain: str) -> str:
    """The name that a template makes; of an address with hyphens."""
    parsed = ipaddress.ip_address(ip)
    address = parsed.exploded.replace(":", "-") if parsed.version != 4 else str(parsed).replace(".", "-")
    return pattern.format(name=name, ip=address, domain=domain)


def checked_range(text: str) -> str:
    """A range whose names a server has; raises ValueError for one that no zones can be cut for."""
    network = ipaddress.ip_network(text.strip())
    if network.version != 4 and network.prefixlen % NIBBLE:
        raise ValueError("must have a prefix of IPv6 that is a multiple of 4, where zones are cut")
    if not network.prefixlen:
        raise ValueError("must be a range of addresses, as 192.0.2.0/24 or 2001:db8::/48")
    return str(network)


def pointer(ip: str, range_: str) -> tuple[str, str]:
    """The zone and the full name of an address's PTR record, at a server that has the names of the range.

    Of IPv4 a zone has a /24, or where the range is smaller that range, named as in RFC 2317 (64/27.2.0.192.…).
    """
    network, full = ipaddress.ip_network(range_), f"{ipaddress.ip_address(ip).reverse_pointer}."
    labels = full.split(".")
    if network.version != 4:
        return ".".join(labels[V4_BITS - network.prefixlen // NIBBLE :]), full
    parent = ".".join(labels[1:])
    if network.prefixlen <= OCTETS_ZONE:
        return parent, full
    if network.prefixlen == V4_BITS:
        return full, full
    zone = f"{network.network_address.packed[-1]}/{network.prefixlen}.{parent}"
    return zone, f"{labels[0]}.{zone}"


def longest_range(ip: str, ranges: Iterable[str]) -> str | None:
    """The smallest of the ranges that the address is in, None where it is in none."""
    address = ipaddress.ip_address(ip)
    found = [net for each in ranges if address in (net := ipaddress.ip_network(each))]
    return str(max(found, key=lambda net: net.prefixlen)) if found else None


def zone_of(name: str, zones: Iterable[str]) -> str | None:
    """The zone of these that has the name: the longest; None where none has."""
    known, labels = set(zones), name.split(".")
    candidates = (".".join(labels[at:]) for at in range(len(labels) - 1))
    return next((each for each in candidates if each in known), None)


def canonical(content: str, type_: str) -> str:
    """A record's content as it is compared."""
    if type_ == "AAAA":
        return str(ipaddress.ip_address(content))
    return content.lower()
