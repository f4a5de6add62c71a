"""What is said of snapshots that the panel did not take (columns of Vm.unmanaged_snapshots)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

AN_OVERLAY = (
    "since then the disk's newest data are in another file than the panel knows. Merge them on the node "
    "(virsh blockcommit --active --pivot, then virsh snapshot-delete --metadata)"
)


def unmanaged_told(unmanaged: Iterable[dict[str, Any]]) -> str:
    """Which snapshots the panel did not take, what they keep from being done, and the ways out."""
    rows = list(unmanaged)
    named = ", ".join(f"“{each['name']}” ({_kind(each)}, {each['created_at'][:16]})" for each in rows)
    text = (
        f"its node has snapshots that the panel did not take: {named}. Until they are gone it is not moved, renamed, "
        "reinstalled, nor are its disks changed."
    )
    if any(not each["external"] for each in rows):
        text += " Internal ones: adopt them (vm.adopt-snapshot), or delete them there (virsh snapshot-delete)."
    if any(each["external"] for each in rows):
        text += f" External ones: {AN_OVERLAY}."
    return text


def _kind(told: dict[str, Any]) -> str:
    return "external" if told["external"] else "internal"


def listed(names: Iterable[str]) -> str:
    """Names as people read them."""
    return ", ".join(f"“{name}”" for name in names)
