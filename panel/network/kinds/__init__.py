"""Kinds of networks: one file a kind, of which each module here is one.

A kind says what a network of it needs (options), what subnets it can have and what nodes are to its guests. Whoever
wants to know whether something is so asks the kind, never which kind it is. What is done on nodes is in the driver of
the same name (nodeagent/network).
"""

from __future__ import annotations

from panel.core.errors import InvalidValue
from panel.core.modules import load_modules
from panel.core.wording import Text
from panel.network.kinds.kind import KINDS, Kind, register

load_modules(__name__, __path__)


def get_kind(name: str) -> Kind:
    """The kind of this name; raises InvalidValue."""
    if name not in KINDS:
        raise InvalidValue(
            Text("There is no such kind of network; there are: {kinds}.", {"kinds": ", ".join(KINDS)}), field="kind"
        )
    return KINDS[name]


__all__ = ["KINDS", "Kind", "get_kind", "register"]
