"""Which addresses an interface has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pydantic import Field

from panel.cluster.models import Cluster
from panel.core.errors import MissingValue
from panel.core.validation import Params
from panel.core.wording import Text
from panel.network.models import Address, Network, Purpose
from panel.network.ranges import ANYBODY, Taker
from panel.network.selectors import given_versions, network_named, network_with
from panel.vms.models import Interface, InterfaceAddress, Vm


def hold(interface: Interface, addresses: Iterable[Address]) -> None:
    """The interface has these addresses besides; the first of a version is that version's primary one."""
    taken = set(interface.held.exclude(primary=None).values_list("primary", flat=True))
    for address in addresses:
        version = ipaddress.ip_address(address.ip).version
        primary = None if version in taken else version
        taken.add(version)
        InterfaceAddress.objects.create(interface=interface, address=address, primary=primary)


class WantedAddress(Params):
    """Which addresses a new interface shall have, where none is named."""

    purpose: Purpose | None = Field(default=None, description="Of ranges for that; none: of any that are for the VM.")


class Asked(Protocol):
    """What is asked for of a new interface."""

    network: str | None
    address: str | None
    purpose: Purpose | None


def network_for(cluster: Cluster, asked: Asked, taker: Taker) -> Network:
    """The network that is named, or has the named address, or has ranges of the purpose, or the first.

    Raises NotFound.
    """
    if asked.network is None and asked.address is not None and (found := network_with(cluster, asked.address)):
        return found
    if asked.network is None and asked.purpose is not None:
        networks = Network.objects.filter(cluster=cluster, removing=False).order_by("pk")
        every = networks.prefetch_related("subnets__ranges", "subnets__excluded")
        if found := next((each for each in every if given_versions(each, taker)), None):
            return found
    return network_named(cluster, asked.network)


def taker_of(vm: Vm, purpose: str = "") -> Taker:
    """For whom addresses of the VM's interfaces are taken, when it is there already."""
    return Taker(vm.owner_id, vm.node_id, purpose=purpose)


def told_of(taken: Sequence[Address]) -> dict[str, Any]:
    """Addresses as an operation's result tells of them: all, and the first, which clients knew before."""
    return {"address": taken[0].ip if taken else None, "addresses": [each.ip for each in taken]}


def refuse_unreached(network: Network, taker: Taker = ANYBODY) -> None:
    """Raise MissingValue for a network that gives no address: a new system would be told of none, and not reached."""
    if not given_versions(network, taker):
        text = Text(
            "The network “{network}” gives out no addresses: a new system is reached by one. Choose another network, "
            "and add an interface in this one afterwards.",
            {"network": network.name},
        )
        raise MissingValue(text, field="network")


def users_of(network: Network, addresses: Sequence[Address] | None) -> Iterable[str]:
    """The names of the VMs that have an interface in the network, or one with any of these addresses."""
    found = Interface.objects.filter(network=network)
    if addresses is not None:
        found = found.filter(held__address__in=[each.pk for each in addresses])
    return found.values_list("vm__name", flat=True).distinct()


def exchange(interface: Interface, ids: Iterable[int]) -> None:
    """The interface has exactly these addresses, by their ids; the others are still taken, and nobody's."""
    interface.held.all().delete()
    found = Address.objects.in_bulk(wanted := list(ids))
    hold(interface, [found[each] for each in wanted if each in found])


def ids_of(interface: Interface) -> list[int]:
    """The ids of its addresses, in their order."""
    return [each.address_id for each in interface.held_addresses()]


def joined(ids: Iterable[int]) -> str:
    """The addresses of these ids as a query with them would tell, for an interface as it was or will be."""
    found = Address.objects.in_bulk(wanted := list(ids))
    return ",".join(found[each].ip for each in wanted if each in found)
