"""What the text of an option may be, and its value. Each raises ValueError for what does not fit."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def yes_no(text: str) -> bool:
    """A switch."""
    if text.lower() not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return text.lower() == "yes"


def port(text: str) -> int:
    """A TCP port."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError("must be a port, 1 to 65535")
    return number


def ports(text: str) -> tuple[int, ...]:
    """Ports, separated by commas."""
    return tuple(port(part) for part in text.split(",") if part.strip())


def count(text: str) -> int:
    """A number of days, seconds or things."""
    number = int(text)
    if not 0 <= number <= 36_500:
        raise ValueError("must be a number, 0 to 36500")
    return number


def positive(text: str) -> int:
    """The same, of at least one."""
    number = count(text)
    if not number:
        raise ValueError("must be at least 1")
    return number


def subnet(text: str) -> str:
    """A private IPv4 network, or none."""
    if not text:
        return ""
    network = ipaddress.IPv4Network(text.strip())
    if not network.is_private or not 16 <= network.prefixlen <= 27:
        raise ValueError("must be a private IPv4 network of 16 to 27 bits, as 10.77.0.0/24")
    return str(network)


def ranges(text: str) -> tuple[str, ...]:
    """Address ranges, separated by commas."""
    return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())


def ip_types(text: str) -> dict[str, str]:
    """What the kinds of address of the classic API stand for: KIND:NETWORK, separated by commas."""
    pairs = [part.partition(":") for part in text.split(",") if part.strip()]
    found = {kind.strip().lower(): network.strip() for kind, _, network in pairs}
    if not set(found) <= {"public", "private", "nat"} or not all(found.values()) or len(found) < len(pairs):
        raise ValueError("must be KIND:NETWORK, KIND:NETWORK, where a kind is public, private or nat")
    return found


def web_address(text: str) -> str:
    """`https://name` or `https://name:port` as browsers write an origin: without the port that goes without saying."""
    parts = urlsplit(text.rstrip("/"))
    if parts.scheme != "https" or parts.netloc.rpartition("@")[1] or parts.path or parts.query or parts.fragment:
        raise ValueError("must be an address as https://panel.example.org or https://panel.example.org:1500")
    name, port = parts.hostname or "", parts.port
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name) or name.rpartition(".")[2].isdigit():
        raise ValueError("must have a name, not an IP address")
    return f"https://{name}" if port in (None, 443) else f"https://{name}:{port}"


def user_filter(text: str) -> str:
    """An LDAP filter with a place for the user's name."""
    if "%(user)s" not in text:
        raise ValueError("must have %(user)s where the name goes")
    return text
