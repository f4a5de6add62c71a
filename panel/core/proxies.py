"""Who calls, where a proxy stands between: the address that a trusted proxy (TrustedProxies) names, of nobody else's.

Any program can write X-Forwarded-For; it is believed from trusted addresses alone, and no further back than to the
first that is not one.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from panel.core.addresses import in_ranges

log = logging.getLogger(__name__)
_told: set[str] = set()


def seen_from(scope: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope with the caller's own address and scheme, where a trusted proxy hands the request on.

    So is whoever reaches the panel's Unix socket (ListenSocket), which has no address.
    """
    trusted = settings.CONFIG.trusted_proxies
    peer = str((scope.get("client") or ("", 0))[0])
    forwarded = _values(scope, b"x-forwarded-for")
    if peer and not in_ranges(peer, trusted):
        if forwarded:
            _tell_once(peer)
        return scope
    changed = {**scope, "client": (caller(peer, forwarded, trusted), 0)}
    if _values(scope, b"x-forwarded-proto")[-1:] == ["https"]:
        changed["scheme"] = "wss" if scope["type"] == "websocket" else "https"
    return changed


def caller(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> str:
    """The last address on the way that is no trusted proxy's; what is no address ends the way."""
    found = peer
    for each in reversed(forwarded):
        address = _address(each)
        if address is None:
            break
        found = address
        if not in_ranges(address, trusted):
            break
    return found


def _address(text: str) -> str | None:
    """An address as proxies write it: bare, `[IPv6]`, or either with a port."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def _values(scope: dict[str, Any], name: bytes) -> list[str]:
    """The comma-separated values of all headers of that name, in their order."""
    lines = [value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name]
    return [each.strip() for each in ",".join(lines).split(",") if each.strip()]


def _tell_once(peer: str) -> None:
    if peer not in _told and len(_told) < 20:
        _told.add(peer)
        log.warning("X-Forwarded-For of %s is not believed: name it in TrustedProxies if it is your proxy", peer)
