"""Reading networks. Every user sees them: a VM is created in one."""

from __future__ import annotations

import ipaddress

from django.db.models import Count, Prefetch, Q, QuerySet

from panel.accounts.models import User
from panel.cluster.models import Cluster
from panel.core import kinds, permissions
from panel.core.errors import CapacityError, InvalidValue, NotFound
from panel.core.wording import Text
from panel.network.models import IpPool, Network
from panel.network.places import place_of
from panel.network.ranges import ANYBODY, Taker, free_by_version, in_use, ranges_for, size, with_used


def list_networks(viewer: User) -> QuerySet[Network]:
    """All networks, each with `used_count` addresses in use, and its ranges each with how many of it are `used`."""
    counted = Prefetch("subnets__ranges", with_used(IpPool.objects.select_related("owner", "node")))
    return Network.objects.prefetch_related("subnets", counted, "subnets__excluded").annotate(
        used_count=Count("addresses", distinct=True)
    )


def free_count(network: Network) -> int:
    """How many addresses of the network's ranges are still free."""
    counted = {pool.pk: getattr(pool, "used", None) for pool in network.ranges}
    used = in_use(IpPool.objects.filter(subnet__network=network)) if None in counted.values() else counted
    return sum(size(pool) - (used[pool.pk] or 0) for pool in network.ranges)


def given_versions(network: Network, taker: Taker = ANYBODY) -> set[int]:
    """Of which versions of IP an interface in the network gets an address."""
    return {pool.subnet.version for pool in ranges_for(network, taker)}


def find_network(viewer: User, network_id: int) -> Network | None:
    """One network, None when there is none; every user sees them."""
    return list_networks(viewer).select_related("cluster").filter(pk=network_id).first()


def get_network(viewer: User, network_id: int) -> Network:
    """One network; raises NotFound."""
    if (network := find_network(viewer, network_id)) is None:
        raise NotFound(object="network", id=network_id)
    return network


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The first networks that fit what somebody types, by a part of their name or bridge."""
    if not permissions.allows(viewer, "cluster.view"):
        return []
    found = Network.objects.filter(Q(name__icontains=text) | Q(bridge__icontains=text)).order_by("name")
    return list(found.values_list("pk", "name", "kind")[: kinds.MOST_FOUND])


def in_range(pool: IpPool, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is in the range."""
    return place_of(pool.first) <= place_of(str(address)) <= place_of(pool.last)


def network_with(cluster: Cluster, ip: str) -> Network | None:
    """The network that has the address in its ranges, or None, also for what is no address."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    pools = IpPool.objects.filter(subnet__network__cluster=cluster).select_related("subnet__network")
    ordered = pools.order_by("subnet__network", "subnet", "pk")
    return next((pool.subnet.network for pool in ordered if in_range(pool, address)), None)


def network_to_give(cluster: Cluster, address: str | None, version: int, taker: Taker) -> Network:
    """The first network that has the address in its ranges, or where none is named one that is free for the taker.

    Raises InvalidValue and CapacityError.
    """
    if address is not None:
        if (found := network_with(cluster, address)) is None:
            text = Text("{address} is not in the ranges of any network.", {"address": address})
            raise InvalidValue(text, field="address")
        return found
    networks = Network.objects.filter(cluster=cluster, removing=False).order_by("pk")
    for network in networks.prefetch_related("subnets__ranges", "subnets__excluded"):
        if free_by_version(network, taker).get(version, 0) > 0:
            return network
    raise CapacityError(Text("No network has a free address of this kind."), field="network", candidates={})


def network_named(cluster: Cluster, name: str | None) -> Network:
    """The network of that name, or the cluster's first when no name is given; raises NotFound."""
    networks = Network.objects.filter(cluster=cluster).order_by("pk")
    network = networks.filter(name=name).first() if name else networks.first()
    if network is None:
        raise NotFound(object="network", id=name or "default", field="network")
    return network
