"""What other rooms have on a node: storages, bridges, vmwatch.

Those rooms lie above this one, so each registers how its part of a node is made, checked and
removed, and the node's operations ask through this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from panel.cluster.context import NodeContext


@dataclass(frozen=True)
class Part:
    """One room's part of a node. All three may be repeated.

    `prepare` leaves it there and working, `remove` leaves nothing of it, `check` mends what it can
    and answers a sentence for each thing that is wrong.
    """

    prepare: Callable[[NodeContext[Any]], None]
    remove: Callable[[NodeContext[Any]], None]
    check: Callable[[NodeContext[Any]], list[str]]


_parts: dict[str, Part] = {}


def register(name: str, part: Part) -> None:
    """Make a part known; called once from its room's AppConfig.ready()."""
    _parts[name] = part


def get(name: str) -> Part:
    """The part of that name; KeyError is a programming error."""
    return _parts[name]


def every() -> dict[str, Part]:
    """All parts, in the order of their registration."""
    return dict(_parts)
