"""Which addresses of a network's ranges are free: the database finds and counts them by the numbers of those in use."""

from __future__ import annotations

from collections import Counter

from django.db.models import Count, Exists, F, OuterRef, QuerySet

from panel.network.models import Address, IpPool, Network

OF_NETWORK = "subnet__network__addresses__place"


def in_use(pools: QuerySet[IpPool]) -> dict[int, int]:
    """How many addresses of each of the ranges are in use, by the range's key; of all of them by one query."""
    inside = {f"{OF_NETWORK}__gte": F("first_place"), f"{OF_NETWORK}__lte": F("last_place")}
    found = pools.filter(**inside).order_by().values_list("pk").annotate(used=Count("pk"))
    return dict(found)


def size(pool: IpPool) -> int:
    """How many addresses the range has."""
    return int(pool.last_place) - int(pool.first_place) + 1


def free_by_version(network: Network) -> dict[int, int]:
    """How many addresses are free of each version of IP that the network has ranges of."""
    used = in_use(IpPool.objects.filter(subnet__network=network))
    free: Counter[int] = Counter()
    for subnet in network.subnets.all():
        for pool in subnet.ranges.all():
            free[subnet.version] += size(pool) - used.get(pool.pk, 0)
    return dict(free)


def lowest_free(pool: IpPool, network_id: int) -> int | None:
    """The number of the range's lowest free address, None where all are in use.

    It is the range's first, or follows one in use: the index of numbers is walked to the first gap.
    """
    used = Address.objects.filter(network=network_id)
    if not used.filter(place=pool.first_place).exists():
        return int(pool.first_place)
    followed = Exists(used.filter(place=OuterRef("place") + 1))
    before_gap = used.filter(~followed, place__gte=pool.first_place, place__lt=pool.last_place).order_by("place")
    found = before_gap.values_list("place", flat=True).first()
    return None if found is None else int(found) + 1
