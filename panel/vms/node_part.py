"""The VMs' part of a node: with every check they are compared with what the node has of them."""

from __future__ import annotations

from typing import Any

from panel.cluster.context import NodeContext
from panel.cluster.parts import Part
from panel.vms.audit import AUDIT_SECONDS, audit_node


def prepare(ctx: NodeContext[Any]) -> None:
    """Domains that were on the host before us are known."""
    check(ctx)


def remove(ctx: NodeContext[Any]) -> None:
    """What is known of strangers goes with the node's row."""


def check(ctx: NodeContext[Any]) -> list[str]:
    """Differences are kept with the VMs and are problems of theirs; the node has nothing to complain of."""
    audit_node(ctx.node, lambda request: ctx.agent.call(request, deadline=AUDIT_SECONDS))
    return []


PART = Part(prepare=prepare, remove=remove, check=check)
