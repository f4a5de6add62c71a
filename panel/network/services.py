"""Giving out addresses, releasing them, and the network that a new cluster begins with."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.cluster.models import Cluster, Node
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue
from panel.network.models import Address, IpPool, Network, NetworkState, NodeNetwork
from panel.network.selectors import in_range

FIRST_SUBNETS = (
    *(f"10.{number}.0.0/24" for number in (77, 78, 87, 177, 178, 187)),
    *(f"172.{number}.77.0/24" for number in (27, 28, 30)),
    *(f"192.168.{number}.0/24" for number in (77, 177, 187)),
)
"""What a cluster's first network may be, the first of them that its first node does not use."""
NAMESERVERS = ["1.1.1.1", "9.9.9.9"]
MAC_PREFIX = (0x52, 0x54, 0x00)
"""QEMU's locally used prefix."""


def allocate(network: Network, wanted: str | None = None) -> Address:
    """Take the lowest free address of the network's ranges, or the one that is wanted; must run in a transaction.

    The network's row is held meanwhile, so two who ask at once get two addresses; the unique
    constraint stands behind that.

    Raises CapacityError when none is free, and what refuse_not_free raises.
    """
    Network.objects.select_for_update().get(pk=network.pk)
    if wanted is not None:
        refuse_not_free(network, wanted)
        return Address.objects.create(network=network, ip=str(ipaddress.ip_address(wanted)))
    used = {int(ipaddress.ip_address(ip)) for ip in network.addresses.values_list("ip", flat=True)}
    for pool in network.ip_pools.order_by("pk"):
        first, last = int(ipaddress.ip_address(pool.first)), int(ipaddress.ip_address(pool.last))
        free = next((number for number in range(first, last + 1) if number not in used), None)
        if free is not None:
            return Address.objects.create(network=network, ip=str(ipaddress.ip_address(free)))
    raise CapacityError(f"The network “{network.name}” has no free address.", field="network", candidates={})


def allocate_certain(network: Network, ip: str) -> Address:
    """Take just this address of the network, in its ranges or not; must run in a transaction.

    Raises InvalidValue for one that no guest can have, AlreadyExists for one in use.
    """
    Network.objects.select_for_update().get(pk=network.pk)
    refuse_address(network, ip)
    return Address.objects.create(network=network, ip=ip)


def refuse_address(network: Network, ip: str) -> None:
    """Raise what keeps a guest from having this address of the network; see allocate_certain."""
    subnet = ipaddress.ip_network(network.subnet)
    try:
        wanted = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidValue(f"“{ip}” is not an IP address.", field="addresses") from None
    of_its_own = (ipaddress.ip_address(network.gateway), subnet.network_address, subnet.broadcast_address)
    if wanted not in subnet or wanted in of_its_own:
        raise InvalidValue(f"{ip} is no address for a guest of “{network.name}” ({subnet}).", field="addresses")
    if network.addresses.filter(ip=ip).exists():
        raise AlreadyExists(f"The address {ip} is in use.", field="addresses", object="address")


def refuse_not_free(network: Network, ip: str, field: str = "address") -> None:
    """Raise InvalidValue for what is no address of the network's ranges, AlreadyExists for one in use."""
    try:
        wanted = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidValue(f"“{ip}” is not an IP address.", field=field) from None
    if not any(in_range(pool, wanted) for pool in network.ip_pools.all()):
        raise InvalidValue(f"{wanted} is not in the ranges of “{network.name}”.", field=field)
    if network.addresses.filter(ip=str(wanted)).exists():
        raise AlreadyExists(f"The address {wanted} is in use.", field=field, object="address")


def release(address_id: int) -> None:
    """Make the address free again; released already is success."""
    Address.objects.filter(pk=address_id).delete()


def new_mac() -> str:
    """A random MAC address with QEMU's prefix."""
    return ":".join(f"{byte:02x}" for byte in (*MAC_PREFIX, *secrets.token_bytes(3)))


@transaction.atomic
def ensure_default_network(cluster: Cluster, used: Iterable[str] = ()) -> Network:
    """The cluster's first network: made, with all its host addresses but the gateway's, when there is none.

    `used` are the address ranges that its first node has; raises CapacityError where there is no room beside them.
    """
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    network = Network.objects.filter(cluster=cluster).order_by("pk").first()
    if network is not None:
        return network
    network = Network(cluster=cluster, name="private", bridge="vmbr-nat0", nameservers=NAMESERVERS)
    return _with_subnet(network, free_subnet(used))


@transaction.atomic
def choose_again(network: Network, used: Iterable[str]) -> Network:
    """Another range for a network that nothing uses yet; as it is where one was set, or an address was given out."""
    Network.objects.select_for_update().get(pk=network.pk)
    if settings.CONFIG.first_network or network.addresses.exists():
        return network
    network.ip_pools.all().delete()
    return _with_subnet(network, free_subnet(used))


def record_state(node: Node, network: Network, error: str = "") -> None:
    """Remember that the network is on the node, or why it cannot be made there."""
    NodeNetwork.objects.update_or_create(
        node=node,
        network=network,
        defaults={
            "bridge": network.bridge,
            "uplink": network.of_kind.uplink(network.options, node.name),
            "state": NetworkState.FAILED if error else NetworkState.READY,
            "error": error,
            "seen_at": timezone.now(),
        },
    )


def free_subnet(used: Iterable[str]) -> str:
    """The range that the option says, else the first of ours that overlaps none of these; raises CapacityError."""
    if settings.CONFIG.first_network:
        return str(settings.CONFIG.first_network)
    for candidate in FIRST_SUBNETS:
        if not any(overlap(candidate, each) for each in used):
            return candidate
    text = "The host uses addresses of every range that the first network could have; set FirstNetwork to a free one."
    raise CapacityError(text, field="network", candidates={})


def overlap(one: str, other: str) -> bool:
    """Whether two ranges in CIDR form have addresses in common."""
    return ipaddress.IPv4Network(one).overlaps(ipaddress.IPv4Network(other))


def _with_subnet(network: Network, subnet: str) -> Network:
    parsed = ipaddress.ip_network(subnet)
    network.subnet, network.gateway = str(parsed), str(parsed[1])
    network.save()
    IpPool.objects.create(network=network, first=str(parsed[10]), last=str(parsed[-2]))
    return network
