"""Subnets of networks and the ranges that addresses are given out of: added, changed, removed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from panel.core.errors import AlreadyExists, InvalidValue, WrongState
from panel.core.wording import Text
from panel.network.models import Address, ExcludedRange, IpPool, Network, Subnet
from panel.network.places import place_of
from panel.network.selectors import in_range
from panel.network.users import named

Range = tuple[str, str]
"""The first and the last address."""
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
SAID = ("purpose", "choice", "owner_id", "node_id", "flavor")
"""What is said of a range besides its ends."""
FIRST_OF_V6 = 0x100
"""Where the usual range of an IPv6 subnet begins: below are routers and what people set by hand."""


def usual_gateway(cidr: str) -> str | None:
    """The first address of a subnet, which is the gateway where nodes are it and nobody says another one."""
    try:
        parsed = ipaddress.ip_network(cidr)
    except ValueError:
        return None
    return str(parsed[1]) if parsed.num_addresses > 2 else None


def parse_range(text: str) -> Range:
    """A range as people write it: an address, “first-last”, or a subnet; raises InvalidValue."""
    first, separator, last = (part.strip() for part in text.partition("-"))
    try:
        if separator:
            return str(ipaddress.ip_address(first)), str(ipaddress.ip_address(last))
        parsed = ipaddress.ip_network(first)
    except ValueError:
        raise InvalidValue(
            Text("“{range}” is no range of addresses, as 192.0.2.10-192.0.2.99 is one.", {"range": text}),
            field="ranges",
        ) from None
    return str(parsed[0]), str(parsed[-1])


def usual_ranges(cidr: str, gateway: str | None) -> list[Range]:
    """All addresses of a subnet that guests can have, in one or two ranges beside the gateway."""
    parsed = ipaddress.ip_network(cidr)
    first, last = int(parsed[0]), int(parsed[-1])
    if parsed.version == 6 and parsed.num_addresses > 2 * FIRST_OF_V6:
        first += FIRST_OF_V6
    elif parsed.num_addresses > 2:
        first, last = first + 1, last - (parsed.version == 4)
    of_gateway = int(ipaddress.ip_address(gateway)) if gateway else -1
    parts = [(first, of_gateway - 1), (of_gateway + 1, last)] if first <= of_gateway <= last else [(first, last)]
    kind = type(parsed[0])
    return [(str(kind(begin)), str(kind(end))) for begin, end in parts if begin <= end]


@transaction.atomic
def add_subnet(
    network: Network,
    cidr: str,
    gateway: str | None = None,
    *,
    nameservers: Iterable[str] = (),
    ranges: Iterable[Range] | None = (),
    excluded: Iterable[Range] = (),
) -> Subnet:
    """A new subnet of the network; addresses of its ranges are given out, without any (None) all that guests can have.

    Raises what prepared() does.
    """
    Network.objects.select_for_update().get(pk=network.pk)
    subnet, wanted = prepared(network, cidr, gateway, nameservers=nameservers, ranges=ranges, excluded=excluded)
    subnet.save()
    IpPool.objects.bulk_create([IpPool(subnet=subnet, first=first, last=last) for first, last in wanted])
    _exclude(subnet, checked_excluded(subnet, excluded))
    return subnet


def prepared(
    network: Network,
    cidr: str,
    gateway: str | None,
    *,
    nameservers: Iterable[str] = (),
    ranges: Iterable[Range] | None = (),
    excluded: Iterable[Range] = (),
) -> tuple[Subnet, list[Range]]:
    """The subnet that add_subnet() would save, with its ranges; changes nothing.

    Raises InvalidValue for what the network's kind cannot have, or does not lie in the subnet, and AlreadyExists for
    a subnet that overlaps another one of the network, or of another one that nodes are the gateway of.
    """
    parsed = _subnet(network, cidr)
    _refuse_overlap(network, parsed)
    gateway = _gateway(network, parsed, gateway)
    subnet = Subnet(network=network, version=parsed.version, cidr=str(parsed), gateway=gateway)
    subnet.nameservers = _nameservers(nameservers)
    checked_excluded(subnet, excluded)
    return subnet, _checked_ranges(subnet, usual_ranges(str(parsed), gateway) if ranges is None else ranges)


@transaction.atomic
def change_subnet(
    subnet: Subnet,
    *,
    gateway: str | None = None,
    nameservers: Iterable[str] | None = None,
    ranges: Iterable[Range] | None = None,
    excluded: Iterable[Range] | None = None,
) -> None:
    """Change what is given of a subnet; "" as the gateway is none.

    Raises InvalidValue as add_subnet(), and WrongState naming who uses an address that no range would have any more, or
    another gateway of a node's.
    """
    network = Network.objects.select_for_update().get(pk=subnet.network_id)
    if gateway is not None:
        found = _gateway(network, subnet.parsed, gateway or None)
        if found != subnet.gateway and network.of_kind.node_is_gateway:
            _refuse_used(network, used_of(subnet), "gateway")
        subnet.gateway = found
    if nameservers is not None:
        subnet.nameservers = _nameservers(nameservers)
    subnet.save(update_fields=["gateway", "nameservers"])
    if ranges is not None:
        _change_ranges(network, subnet, _checked_ranges(subnet, ranges))
    if excluded is not None:
        _exclude(subnet, checked_excluded(subnet, excluded))


@transaction.atomic
def remove_subnet(subnet: Subnet) -> None:
    """The network has the subnet no more; raises WrongState naming who uses addresses of it."""
    network = Network.objects.select_for_update().get(pk=subnet.network_id)
    _refuse_used(network, used_of(subnet), "subnet")
    subnet.delete()


def refuse_used_subnet(subnet: Subnet) -> None:
    """Raise what keeps a subnet from being removed; see remove_subnet()."""
    _refuse_used(subnet.network, used_of(subnet), "subnet")


def overlap(one: str, other: str) -> bool:
    """Whether two ranges in CIDR form have addresses in common; those of different versions have none."""
    first, second = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return first.version == second.version and first.overlaps(second)


def _change_ranges(network: Network, subnet: Subnet, wanted: Sequence[Range]) -> None:
    before = list(subnet.ranges.all())
    there = {(each.first, each.last): each for each in before}
    # One that stays is still what was said of it, under its number.
    after = [there.get(ends) or IpPool(subnet=subnet, first=ends[0], last=ends[1]) for ends in wanted]
    outside = [address for address in used_of(subnet) if _is_in(before, address.ip) and not _is_in(after, address.ip)]
    _refuse_used(network, outside, "ranges")
    subnet.ranges.exclude(pk__in=[each.pk for each in after if each.pk]).delete()
    IpPool.objects.bulk_create([each for each in after if not each.pk])


def said_of(pool: IpPool) -> dict[str, Any]:
    """What is said of the range besides its ends, by the names of the columns."""
    return {name: getattr(pool, name) for name in SAID}


def _exclude(subnet: Subnet, excluded: Iterable[Range]) -> None:
    """Just these addresses of the subnet are given to nobody; who has one keeps it."""
    subnet.excluded.all().delete()
    ExcludedRange.objects.bulk_create(
        [ExcludedRange(subnet=subnet, first=first, last=last) for first, last in excluded]
    )


def checked_excluded(subnet: Subnet, excluded: Iterable[Range]) -> list[Range]:
    """What is excluded, which lies in the subnet; raises InvalidValue."""
    return _checked_ranges(subnet, excluded, field="excluded")


def _is_in(pools: Iterable[IpPool], ip: str) -> bool:
    return any(in_range(pool, ipaddress.ip_address(ip)) for pool in pools)


def used_by_subnet(network: Network) -> dict[int, int]:
    """How many addresses of each of the network's subnets are in use, by the subnet's key; by one query."""
    counts = {f"of_{each.pk}": Count("pk", filter=Q(place__range=_places(each))) for each in network.subnets.all()}
    found = network.addresses.aggregate(**counts) if counts else {}
    return {int(name.removeprefix("of_")): count for name, count in found.items()}


def _places(subnet: Subnet) -> tuple[int, int]:
    return place_of(str(subnet.parsed[0])), place_of(str(subnet.parsed[-1]))


def used_of(subnet: Subnet) -> QuerySet[Address]:
    """The addresses of the subnet that are in use."""
    return Address.objects.filter(network=subnet.network_id, place__range=_places(subnet)).order_by("place")


def _refuse_used(network: Network, used: Iterable[Address], field: str) -> None:
    if addresses := list(used):
        data = {"count": len(addresses), "users": named(network, addresses)}
        text = Text("{count} addresses of it are in use, by {users}.", data)
        raise WrongState(text, object="network", id=network.pk, state="in use", field=field)


def _gateway(
    network: Network, parsed: ipaddress.IPv4Network | ipaddress.IPv6Network, gateway: str | None
) -> str | None:
    beyond = network.of_kind.gateways
    if gateway is None and parsed.version in beyond:
        return beyond[parsed.version]
    if gateway is None:
        if network.of_kind.node_is_gateway:
            text = "Nodes are the gateway of such a network, which has an address of its own."
            raise InvalidValue(text, field="gateway")
        return None
    # What lies outside of it is reached by a route that the kind of the network must know.
    if parsed.version not in beyond:
        _inside(parsed, [gateway], "gateway")
    elif not _is_of(parsed.version, gateway):
        data = {"address": gateway, "version": parsed.version}
        raise InvalidValue(Text("{address} is no address of IPv{version}.", data), field="gateway")
    return str(ipaddress.ip_address(gateway))


def _is_of(version: int, address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == version
    except ValueError:
        return False


def _nameservers(given: Iterable[str]) -> list[str]:
    try:
        return list(dict.fromkeys(str(ipaddress.ip_address(each)) for each in given))
    except ValueError as error:
        raise InvalidValue(Text("This is no address: {error}.", {"error": str(error)}), field="nameservers") from None


def _checked_ranges(subnet: Subnet, ranges: Iterable[Range], field: str = "ranges") -> list[Range]:
    """The ranges, which lie in the subnet and not in one another, in their order."""
    found: list[tuple[Ip, Ip]] = []
    for first, last in ranges:
        _inside(subnet.parsed, [first, last], field)
        begin, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
        if int(begin) > int(end):
            data = {"first": str(begin), "last": str(end)}
            text = Text("A range ends at its last address: {first} comes after {last}.", data)
            raise InvalidValue(text, field=field)
        if any(int(begin) <= int(other[1]) and int(other[0]) <= int(end) for other in found):
            text = Text("The ranges overlap at {first}.", {"first": str(begin)})
            raise InvalidValue(text, field=field)
        found.append((begin, end))
    return [(str(begin), str(end)) for begin, end in found]


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


def _refuse_overlap(network: Network, parsed: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    """Of one network no two may overlap; nor may those that nodes are the gateway of, which they have all at once."""
    there = Subnet.objects.filter(network__cluster=network.cluster_id, version=parsed.version)
    for each in there.select_related("network").order_by("pk"):
        at_nodes = network.of_kind.node_is_gateway and each.network.of_kind.node_is_gateway
        if (each.network_id == network.pk or at_nodes) and overlap(each.cidr, str(parsed)):
            data = {"subnet": str(each), "network": each.network.name, "other": str(parsed)}
            text = Text("The subnet {subnet} of the network “{network}” overlaps {other}.", data)
            raise AlreadyExists(text, field="cidr", object="subnet")


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
