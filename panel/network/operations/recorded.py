"""What the operations that change a network have in common: its record is changed first, then the nodes are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panel.network import everywhere
from panel.network.context import NetworkContext
from panel.tasks.context import P
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Step

Record = Callable[[Any], "dict[str, Any] | None"]


class ChangesNetwork(Operation[P]):
    """Base of the operations that change a network on all nodes."""

    permission = "cluster.manage"
    context = NetworkContext
    locks = (exclusive("network"),)


def make_on_nodes(ctx: NetworkContext[Any]) -> dict[str, Any]:
    """Every node that can have the network has it."""
    return {"result": {"not_on": everywhere.make(ctx)}}


def recorded(
    record: Record, title: str, back: Callable[[Any], None], tell: str = "Tell the nodes"
) -> tuple[Step, Step]:
    """The steps of a change: `record` it, and tell the nodes; undone by `back` and by telling them what stands then."""

    def undo(ctx: NetworkContext[Any]) -> None:
        back(ctx)
        everywhere.remake(ctx)

    # No undo of the second: the first one's has the nodes as they were.
    return Step(record, title, undo=undo, inline=True), Step(make_on_nodes, tell, weight=5)
