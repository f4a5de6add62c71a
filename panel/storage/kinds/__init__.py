"""Kinds of storages: one file a kind, of which each module here is one.

A kind says what a storage of it needs (options), what volumes on it can be and do, and how two of it clash. Whoever
wants to know whether something is possible asks what the kind can, never which kind it is. What is done on nodes is in
the driver of the same name (nodeagent/storage).
"""

from __future__ import annotations

from panel.core.errors import InvalidValue
from panel.core.modules import load_modules
from panel.core.wording import Text
from panel.storage.kinds.kind import KINDS, Can, Kind, register

load_modules(__name__, __path__)


def get_kind(name: str) -> Kind:
    """The kind of this name; raises InvalidValue."""
    if name not in KINDS:
        raise InvalidValue(
            Text("There is no such kind of storage; there are: {kinds}.", {"kinds": ", ".join(KINDS)}), field="kind"
        )
    return KINDS[name]


__all__ = ["KINDS", "Can", "Kind", "get_kind", "register"]
