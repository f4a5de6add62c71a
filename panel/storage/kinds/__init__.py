"""Kinds of storages: one file a kind, and here the list of them.

A kind says what a storage of it needs (options), what volumes on it can be and do, and how two of it clash. Whoever
wants to know whether something is possible asks what the kind can, never which kind it is. What is done on nodes is in
the driver of the same name (nodeagent/storage).
"""

from __future__ import annotations

from panel.core.errors import InvalidValue
from panel.storage.kinds.directory import DirectoryKind
from panel.storage.kinds.kind import Can, Kind

KINDS: dict[str, Kind] = {}
"""All kinds by their names."""


def register(kind: Kind) -> None:
    """Have the kind among those that storages can be of."""
    KINDS[kind.name] = kind


def get_kind(name: str) -> Kind:
    """The kind of this name; raises InvalidValue."""
    if name not in KINDS:
        raise InvalidValue(f"There is no such kind of storage; there are: {', '.join(KINDS)}.", field="kind")
    return KINDS[name]


register(DirectoryKind())

__all__ = ["KINDS", "Can", "Kind", "get_kind", "register"]
