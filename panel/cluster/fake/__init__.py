"""A node in memory, with behaviour: domains, volumes, images, bridges, fences, and faults on request.

It passes the same contract tests as the real agent (tests/contract), so that tests of pages and of
the API are fast. It never stands as proof that an operation works on a real node. One module a thing
that it plays, as nodeagent/commands is; a command's method bears its name.
"""

from __future__ import annotations

from panel.cluster.fake.devices import Devices
from panel.cluster.fake.guests import Guests
from panel.cluster.fake.links import Links
from panel.cluster.fake.machine import Machine
from panel.cluster.fake.migration import Migration, accepting
from panel.cluster.fake.settings import Settings
from panel.cluster.fake.snapshots import Snapshots
from panel.cluster.fake.state import AgentRefusal, FakeDomain, FakeSnapshot, FakeVolume

__all__ = ["AgentRefusal", "FakeDomain", "FakeNode", "FakeSnapshot", "FakeVolume", "node", "reset"]


class FakeNode(Machine, Guests, Settings, Snapshots, Devices, Migration, Links):
    """The node. Everything in it may be looked at and changed by a test."""


_nodes: dict[int, FakeNode] = {}


def node(node_id: int) -> FakeNode:
    """The fake behind a node's row, made on first use."""
    return _nodes.setdefault(node_id, FakeNode(name=f"fake-{node_id}"))


def reset() -> None:
    """Forget all fakes."""
    _nodes.clear()
    accepting.clear()
