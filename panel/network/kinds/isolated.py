"""The kind “isolated”: guests of one node among themselves, apart from the node and all else."""

from __future__ import annotations

from panel.core.validation import Params
from panel.network.kinds.kind import Kind, register


class IsolatedOptions(Params):
    """It has none."""


@register
class IsolatedKind(Kind):
    """A bridge of its own on each node, on which the node itself has no address."""

    name = "isolated"
    label = "Isolated network on each node"
    options = IsolatedOptions
