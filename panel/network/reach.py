"""Which addresses guests begin nothing with: those of nodes and panel.

A guest that came to them would come with its node's address (NAT), which tokens may be bound to.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
from django.conf import settings

from panel.cluster import parts
from panel.cluster.models import Cluster, Node

IP = (socket.AF_INET, socket.AF_INET6)


def kept_from(cluster: Cluster) -> list[str] | None:
    """The addresses that the cluster's guests are kept from; None where they reach the nodes and all else."""
    if cluster.guests_reach_nodes:
        return None
    hosts = {*Node.objects.values_list("address", flat=True), *_panel(cluster)}
    return sorted({address for host in hosts for address in addresses_of(host) if _is_a_way(address)})


def _panel(cluster: Cluster) -> Iterator[str]:
    """Where the panel is: what nodes connect to, what it is told to be, and its machine's own addresses."""
    for part in parts.every().values():
        yield from (host for host, _port in part.reach())
    for host in (settings.CONFIG.own_host.strip("[]"), urlsplit(settings.CONFIG.public_url).hostname or ""):
        # Not what a name leads to: before a panel may stand what others share.
        with contextlib.suppress(ValueError):
            yield str(ipaddress.ip_address(host))
    yield from _of_machine(cluster)


def _of_machine(cluster: Cluster) -> list[str]:
    """The addresses of the panel's machine; other machines' workers go by what it last saw."""
    if settings.CONFIG.panel_here:
        found = [each for of in psutil.net_if_addrs().values() for each in of]
        addresses = {each.address.partition("%")[0] for each in found if each.family in IP}
        now = sorted(each for each in addresses if _is_a_way(each))
        if now != cluster.panel_addresses:
            cluster.panel_addresses = now
            Cluster.objects.filter(pk=cluster.pk).update(panel_addresses=now)
    return list(cluster.panel_addresses)


def addresses_of(host: str) -> list[str]:
    """What a host's name leads to just now; nothing for one that leads nowhere."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    with contextlib.suppress(OSError, UnicodeError):
        return [str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return []


def _is_a_way(address: str) -> bool:
    """Whether a guest could send to it."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)
