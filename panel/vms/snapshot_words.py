"""What is said of snapshots that the panel did not take (columns of Vm.unmanaged_snapshots)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from panel.core.wording import Text, joined

AN_OVERLAY = (
    "since then the disk's newest data are in another file than the panel knows. Merge them on the node "
    "(virsh blockcommit --active --pivot, then virsh snapshot-delete --metadata)"
)


UNMANAGED = (
    "its node has snapshots that the panel did not take: {named}. Until they are gone it is not moved, renamed, "
    "reinstalled, nor are its disks changed."
)
INTERNAL = "Internal ones: adopt them (vm.adopt-snapshot), or delete them there (virsh snapshot-delete)."


def unmanaged_told(unmanaged: Iterable[dict[str, Any]]) -> Text:
    """Which snapshots the panel did not take, what they keep from being done, and the ways out."""
    rows = list(unmanaged)
    told = [Text(UNMANAGED, {"named": joined((_named(each) for each in rows), ", ")})]
    if any(not each["external"] for each in rows):
        told.append(Text(INTERNAL))
    if any(each["external"] for each in rows):
        told.append(Text("External ones: {ways}.", {"ways": Text(AN_OVERLAY)}))
    return joined(told, " ")


def _named(row: dict[str, Any]) -> Text:
    template = "“{snapshot}” (external, {at})" if row["external"] else "“{snapshot}” (internal, {at})"
    return Text(template, {"snapshot": row["name"], "at": row["created_at"][:16]})


def listed(names: Iterable[str]) -> str:
    """Names as people read them."""
    return ", ".join(f"“{name}”" for name in names)
