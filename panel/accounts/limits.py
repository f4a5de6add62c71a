"""An account's limits. What counts against them is known above: vms/limits.py compares and refuses."""

from __future__ import annotations

from collections.abc import Mapping

from panel.accounts.models import Limits, User

LIMITS = ("vms", "memory_mib", "vcpus", "disk_gib", "addresses", "iso_count", "iso_mib", "snapshots")


def limits_of(user: User) -> Limits:
    """The user's limits; of an account without a row, none."""
    return Limits.objects.filter(user=user).first() or Limits(user=user)


def set_limits(user: User, values: Mapping[str, int | None]) -> None:
    """Set those limits that are named; what is used already stays, also above them."""
    Limits.objects.update_or_create(user=user, defaults=dict(values))
