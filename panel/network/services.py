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
from panel.core.wording import Text
from panel.network.models import Address, IpPool, Network, NetworkState, NodeNetwork, Subnet
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
    for pool in network.ranges:
        first, last = int(ipaddress.ip_address(pool.first)), int(ipaddress.ip_address(pool.last))
        free = next((number for number in range(first, last + 1) if number not in used), None)
        if free is not None:
            return Address.objects.create(network=network, ip=str(ipaddress.ip_address(free)))
    raise CapacityError(
        Text("The network “{network}” has no free address.", {"network": network.name}), field="network", candidates={}
    )


def allocate_certain(network: Network, ip: str) -> Address:
    """Take just this address of the network, in its ranges or not; must run in a transaction.

    Raises InvalidValue for one that no guest can have, AlreadyExists for one in use.
    """
    Network.objects.select_for_update().get(pk=network.pk)
    refuse_address(network, ip)
    return Address.objects.create(network=network, ip=ip)


def refuse_address(network: Network, ip: str) -> None:
    """Raise what keeps a guest from having this address of the network; see allocate_certain."""
    try:
        subnet = network.subnet_with(ip)
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field="addresses") from None
    if subnet is None or ipaddress.ip_address(ip) in _of_its_own(subnet):
        there = ", ".join(each.cidr for each in network.subnets.all()) or "it has no subnet"
        raise InvalidValue(
            Text(
                "{address} is no address for a guest of “{network}” ({subnets}).",
                {"address": str(ip), "network": network.name, "subnets": there},
            ),
            field="addresses",
        )
    if network.addresses.filter(ip=ip).exists():
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(ip)}), field="addresses", object="address"
        )


def _of_its_own(subnet: Subnet) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of a subnet that are no guest's."""
    gateway, parsed = {ipaddress.ip_address(subnet.gateway)} if subnet.gateway else set(), subnet.parsed
    if parsed.max_prefixlen - parsed.prefixlen < 2:
        return gateway
    return gateway | {parsed.network_address} | ({parsed.broadcast_address} if parsed.version == 4 else set())


@transaction.atomic
def add_subnet(
    network: Network,
    cidr: str,
    gateway: str | None = None,
    *,
    nameservers: Iterable[str] = (),
    ranges: Iterable[tuple[str, str]] = (),
) -> Subnet:
    """A new subnet of the network; addresses of its ranges are given out.

    Raises InvalidValue for what the network's kind cannot have, or does not lie in the subnet, and AlreadyExists for
    a subnet that overlaps another one of the network.
    """
    Network.objects.select_for_update().get(pk=network.pk)
    parsed = _subnet(network, cidr)
    if gateway is None and network.of_kind.node_is_gateway:
        raise InvalidValue("Nodes are the gateway of such a network, which has an address of its own.", field="gateway")
    for each in network.subnets.all():
        if each.version == parsed.version and each.parsed.overlaps(parsed):
            raise AlreadyExists(
                Text("The subnet {subnet} overlaps {other}.", {"subnet": str(each), "other": str(parsed)}),
                field="cidr",
                object="subnet",
            )
    if gateway is not None:
        # What lies outside of it is reached by a route that the kind of the network must know.
        _inside(parsed, [gateway], "gateway")
    subnet = Subnet.objects.create(
        network=network, version=parsed.version, cidr=str(parsed), gateway=gateway, nameservers=list(nameservers)
    )
    for first, last in ranges:
        _inside(parsed, [first, last], "ranges")
        if ipaddress.ip_address(first).packed > ipaddress.ip_address(last).packed:
            raise InvalidValue(
                Text(
                    "A range ends at its last address: {first} comes after {last}.",
                    {"first": str(first), "last": str(last)},
                ),
                field="ranges",
            )
        IpPool.objects.create(subnet=subnet, first=first, last=last)
    return subnet


def _subnet(network: Network, cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        parsed = ipaddress.ip_network(cidr)
    except ValueError:
        raise InvalidValue(
            Text("“{subnet}” is no subnet, as 192.0.2.0/24 is one.", {"subnet": cidr}), field="cidr"
        ) from None
    if parsed.version not in network.of_kind.versions:
        raise InvalidValue(
            Text("A network of this kind has no subnets of IPv{version}.", {"version": parsed.version}), field="cidr"
        )
    return parsed


def _inside(subnet: ipaddress.IPv4Network | ipaddress.IPv6Network, addresses: Iterable[str], field: str) -> None:
    try:
        outside = [each for each in addresses if ipaddress.ip_address(each) not in subnet]
    except ValueError as error:
        raise InvalidValue(Text("This is no address: {error}.", {"error": str(error)}), field=field) from None
    if outside:
        raise InvalidValue(
            Text("{address} does not lie in {subnet}.", {"address": str(outside[0]), "subnet": str(subnet)}),
            field=field,
        )


def refuse_not_free(network: Network, ip: str, field: str = "address") -> None:
    """Raise InvalidValue for what is no address of the network's ranges, AlreadyExists for one in use."""
    try:
        wanted = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field=field) from None
    if not any(in_range(pool, wanted) for pool in network.ranges):
        raise InvalidValue(
            Text("{address} is not in the ranges of “{network}”.", {"address": str(wanted), "network": network.name}),
            field=field,
        )
    if network.addresses.filter(ip=str(wanted)).exists():
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(wanted)}), field=field, object="address"
        )


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
    network = Network.objects.create(cluster=cluster, name="private", bridge="vmbr-nat0")
    return _with_subnet(network, free_subnet(used))


@transaction.atomic
def choose_again(network: Network, used: Iterable[str]) -> Network:
    """Another range for a network that nothing uses yet; as it is where one was set, or an address was given out."""
    Network.objects.select_for_update().get(pk=network.pk)
    if settings.CONFIG.first_network or network.addresses.exists():
        return network
    network.subnets.all().delete()
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
    """Whether two ranges in CIDR form have addresses in common; those of different versions have none."""
    first, second = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return first.version == second.version and first.overlaps(second)


def _with_subnet(network: Network, subnet: str) -> Network:
    parsed = ipaddress.ip_network(subnet)
    ranges = [(str(parsed[10]), str(parsed[-2]))]
    add_subnet(network, str(parsed), str(parsed[1]), nameservers=NAMESERVERS, ranges=ranges)
    return network
