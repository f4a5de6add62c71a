"""The context of operations on nodes."""

from __future__ import annotations

from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.core.errors import NotFound
from panel.tasks.context import Context, P


class NodeContext(Context[P]):
    """What a step of a node's operation sees besides its parameters."""

    @property
    def node(self) -> Node:
        """The node as it stands now; raises NotFound when it was removed meanwhile."""
        node = self.find_node()
        if node is None:
            raise NotFound(object="node", id=self.task.object_id)
        return node

    def find_node(self) -> Node | None:
        """The node, or None when its record is gone (an undo may have removed it before)."""
        return Node.objects.select_related("cluster").filter(pk=self.task.object_id or 0).first()

    def find_object(self) -> Node | None:
        """The node."""
        return self.find_node()

    @property
    def agent(self) -> Agent:
        """The node's agent."""
        return Agent(self.node, self)

    def lock_id(self, kind: str) -> int | None:
        """The node itself."""
        return self.task.object_id if kind == "node" else None
