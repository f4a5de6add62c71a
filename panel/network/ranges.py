"""Which addresses of a network's ranges are free, and for whom: the database finds and counts them by their numbers."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from panel.network.models import Address, Choice, ExcludedRange, IpPool, Network, Purpose

Span = tuple[int, int]
"""The numbers of the first and the last address."""
TRIES = 16
"""How often a free address is looked for by chance before the lowest one is taken."""


@dataclass(frozen=True)
class Taker:
    """For whom an address is: his own ranges come first, and those of others are none for him.

    Without a node (one that is not chosen yet) the ranges of each count; without a purpose those of any.
    """

    owner_id: int | None = None
    node_id: int | None = None
    flavor: str = ""
    purpose: str = ""
    everywhere: bool = False
    """Whether the ranges of others are his too: of administrators who name an address."""

    def may_have(self, pool: IpPool) -> bool:
        """Whether addresses of the range are for him."""
        return self.everywhere or (
            pool.owner_id in (None, self.owner_id)
            and (self.node_id is None or pool.node_id in (None, self.node_id))
            and pool.flavor in ("", self.flavor)
            and self.purpose in ("", purpose_of(pool))
        )


ANYBODY = Taker()


def purpose_of(pool: IpPool) -> str:
    """What the range is for: what was said of it, else what its addresses are."""
    if pool.purpose:
        return pool.purpose
    private = pool.subnet.network.of_kind.translated or pool.subnet.parsed.is_private
    return Purpose.PRIVATE if private else Purpose.PUBLIC


def ranges_for(network: Network, taker: Taker) -> list[IpPool]:
    """The ranges that the taker gets addresses of, the narrowest first."""
    found = [pool for pool in network.ranges if taker.may_have(pool)]
    return sorted(found, key=lambda pool: (pool.owner_id is None, pool.node_id is None, not pool.flavor))


def spans(pool: IpPool) -> list[Span]:
    """The range without what is excluded of its subnet."""
    found = [(int(pool.first_place), int(pool.last_place))]
    for each in pool.subnet.excluded.all():
        found = [part for span in found for part in _without(span, int(each.first_place), int(each.last_place))]
    return found


def _without(span: Span, first: int, last: int) -> Iterator[Span]:
    if last < span[0] or first > span[1]:
        yield span
        return
    if span[0] < first:
        yield span[0], first - 1
    if last < span[1]:
        yield last + 1, span[1]


def size(pool: IpPool) -> int:
    """How many addresses of the range can be given out."""
    return sum(last - first + 1 for first, last in spans(pool))


def taken() -> QuerySet[Address]:
    """The addresses that nobody else can have: those that wait no longer can be had."""
    return Address.objects.filter(Q(waits_until=None) | Q(waits_until__gt=timezone.now()))


def with_used(pools: QuerySet[IpPool]) -> QuerySet[IpPool]:
    """The ranges, each with how many of its addresses are `used`, counted by the index of their numbers."""
    excluded = ExcludedRange.objects.filter(
        subnet=OuterRef(OuterRef("pk_of_subnet")), first_place__lte=OuterRef("place"), last_place__gte=OuterRef("place")
    )
    inside = taken().filter(
        ~Exists(excluded),
        network=OuterRef("subnet__network"),
        place__gte=OuterRef("first_place"),
        place__lte=OuterRef("last_place"),
    )
    counted = inside.order_by().values("network").annotate(count=Count("pk")).values("count")
    return pools.annotate(pk_of_subnet=F("subnet")).annotate(used=Coalesce(Subquery(counted), 0))


def in_use(pools: QuerySet[IpPool]) -> dict[int, int]:
    """How many addresses of each of the ranges are in use, by the range's key; of all of them by one query."""
    found: QuerySet[Any] = with_used(pools).order_by()
    return dict(found.values_list("pk", "used"))


def free_by_version(network: Network, taker: Taker = ANYBODY) -> dict[int, int]:
    """How many addresses are free for the taker of each version of IP that there are ranges of for him."""
    used = in_use(IpPool.objects.filter(subnet__network=network))
    free: Counter[int] = Counter()
    for pool in ranges_for(network, taker):
        free[pool.subnet.version] += size(pool) - used.get(pool.pk, 0)
    return dict(free)


def free_place(network: Network, version: int, taker: Taker) -> int | None:
    """The number of an address that is free for the taker, None where there is none."""
    for pool in ranges_for(network, taker):
        if pool.subnet.version == version:
            for span in spans(pool):
                if (found := _free_in(network.pk, span, pool.choice)) is not None:
                    return found
    return None


def _free_in(network_id: int, span: Span, choice: str) -> int | None:
    if choice == Choice.RANDOM:
        for _ in range(TRIES):
            place = span[0] + secrets.randbelow(span[1] - span[0] + 1)
            if not Address.objects.filter(network=network_id, place=place).exists():
                return place
    return _lowest_free(network_id, *span)


def _lowest_free(network_id: int, first: int, last: int) -> int | None:
    """The first number, or the one after the first address in use that none follows: the index is walked to the gap."""
    used = Address.objects.filter(network=network_id)
    if not used.filter(place=first).exists():
        return first
    followed = Exists(used.filter(place=OuterRef("place") + Value(1)))
    before_gap = used.filter(~followed, place__gte=first, place__lt=last).order_by("place")
    found = before_gap.values_list("place", flat=True).first()
    return None if found is None else int(found) + 1
