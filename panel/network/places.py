"""Addresses as numbers of one order, by which the database finds free ones without reading those in use.

An IPv4 address has the number of its IPv4-mapped IPv6 address, so that no two addresses have one number.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from django.db import models

MAPPED = 0xFFFF << 32
"""What ::ffff:0:0/96 begins with (RFC 4291, 2.5.5.2)."""
LAST_MAPPED = MAPPED + 0xFFFFFFFF


def place_of(ip: str) -> int:
    """The number of an address; raises ValueError for what is none."""
    parsed = ipaddress.ip_address(ip)
    return int(parsed) + (MAPPED if parsed.version == 4 else 0)


def ip_at(place: int) -> str:
    """The address of that number."""
    if MAPPED <= place <= LAST_MAPPED:
        return str(ipaddress.IPv4Address(place - MAPPED))
    return str(ipaddress.IPv6Address(place))


if TYPE_CHECKING:
    Decimals = models.DecimalField[Any, Any]
else:
    Decimals = models.DecimalField


class PlaceField(Decimals):
    """The number of the address that another field of the row has; 128 bits are more than MariaDB's integers hold."""

    def __init__(self, *, of: str = "ip", **options: Any) -> None:
        self.of = of
        super().__init__(**{**options, "max_digits": 39, "decimal_places": 0, "editable": False})

    def deconstruct(self) -> Any:
        """As Django writes it into migrations."""
        name, path, args, options = super().deconstruct()
        for fixed in ("max_digits", "decimal_places", "editable"):
            options.pop(fixed, None)
        return name, path, args, {**options, "of": self.of}

    def pre_save(self, instance: models.Model, add: bool) -> Any:
        """The number, whatever the row had before."""
        place = place_of(getattr(instance, self.of))
        setattr(instance, self.attname, place)
        return place
