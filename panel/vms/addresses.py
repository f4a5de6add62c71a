"""Which addresses an interface has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from panel.network.models import Address
from panel.vms.models import Interface, InterfaceAddress


def hold(interface: Interface, addresses: Iterable[Address]) -> None:
    """The interface has these addresses besides; the first of a version is that version's primary one."""
    taken = set(interface.held.exclude(primary=None).values_list("primary", flat=True))
    for address in addresses:
        version = ipaddress.ip_address(address.ip).version
        primary = None if version in taken else version
        taken.add(version)
        InterfaceAddress.objects.create(interface=interface, address=address, primary=primary)


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
