"""The one way from a node's row to a client that talks with it, real or fake."""

from __future__ import annotations

from typing import Any, TypeVar

from nodeagent.protocol import Request
from panel.cluster import fake, keys, session
from panel.cluster.client import NodeAddress, NodeClient, Progress
from panel.cluster.models import Node
from panel.tasks.context import Context

R = TypeVar("R")


def address_of(node: Node) -> NodeAddress:
    """How the panel reaches the node with its own key."""
    return NodeAddress(
        name=node.name,
        address=node.address,
        port=node.ssh_port,
        user=node.ssh_user,
        host_key=node.host_key,
        key_path=str(keys.private_key_path()),
    )


def client(node: Node) -> NodeClient:
    """A client of the node, shared by all who ask within this process; connects with its first call."""
    return fake.node(node.pk) if node.is_fake else session.get(address_of(node))


class Agent:
    """A node's client as a step sees it: calls carry the task's fence and feed its progress."""

    def __init__(self, node: Node, ctx: Context[Any]) -> None:
        self.node = node
        self.ctx = ctx

    def call(self, request: Request[R], *, deadline: float = 60.0) -> R:
        """Have the node carry out `request` within `deadline` seconds.

        Raises NodeError's kinds, and Cancelled or Fenced when the task is to stop meanwhile.
        """
        self.ctx.stop_if_asked()
        fence = self.ctx.fence if request.MUTATES else None
        return client(self.node).call(request, deadline=deadline, fence=fence, progress=self._progress)

    def _progress(self, progress: Progress) -> None:
        fraction = progress.done / progress.total if progress.total else 0.0
        self.ctx.progress(fraction, progress.text)
