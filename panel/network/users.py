"""Who uses a network and its addresses: the apps above say it, since what has interfaces lies above networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from panel.network.models import Address, Network

MOST_NAMED = 5
Names = Callable[[Network, Sequence[Address] | None], Iterable[str]]
_tell: list[Names] = []


def tell_users_by(names: Names) -> None:
    """Have users of a network named by this: of some of its addresses, or with None of the network at all.

    Called once by each app whose objects are in networks.
    """
    _tell.append(names)


def users(network: Network, addresses: Sequence[Address] | None = None) -> list[str]:
    """The names of all who use the network, or these addresses of it."""
    return sorted({name for tell in _tell for name in tell(network, addresses)})


def named(network: Network, addresses: Sequence[Address] | None = None) -> str:
    """The first of them as a list, or the addresses themselves where nobody is known to have them."""
    found = users(network, addresses) or [each.ip for each in addresses or ()]
    more = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f", … (+{more})" if more > 0 else "")
