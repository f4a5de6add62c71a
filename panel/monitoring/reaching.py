"""Whether vmwatch-node's words can arrive: its node really connects to vmwatch-master, and a new node has been heard.

Of a vmwatch-master that says nothing to the panel either it is the problem of the master, no node's.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from nodeagent.protocol import node as protocol
from panel.cluster.context import NodeContext
from panel.cluster.models import NodeState
from panel.cluster.parts import Complaint
from panel.core.wording import Text
from panel.monitoring import keys
from panel.monitoring.models import MasterWatch, NodeWatch
from panel.monitoring.silence import MASTER_SILENT
from panel.notices.models import Severity

PATIENCE_SECONDS = 10.0
"""How long a master that was enabled just now, and a node's first message, are waited for while a node is added."""
SPEAKS_SECONDS = 7.0
"""A master that is well speaks every 5 seconds."""
LOOK_SECONDS = 0.2
FIRST_MESSAGE = timedelta(seconds=60)
SHUT_OUT = (
    "vmwatch-node cannot reach vmwatch-master at {place} ({reason}), so that the status of the node's VMs is not "
    "known: a firewall on the node, on the panel's machine or between them keeps it from there. Let the node connect "
    "to {place} by TCP."
)


def complaints(ctx: NodeContext[Any]) -> list[Complaint]:
    """What keeps the node's messages from the panel."""
    host, _, port = keys.told()[0].removeprefix("tcp://").rpartition(":")
    if not host:
        return []
    reached = _try(ctx, host, int(port))
    if not reached.reached:
        return _unreached(ctx, (host, int(port)), reached.reason)
    return _unheard(ctx, f"{host}:{port}")


def _try(ctx: NodeContext[Any], host: str, port: int) -> protocol.Reached:
    until = time.monotonic() + (PATIENCE_SECONDS if _is_new(ctx) else 0.0)
    while True:
        reached = ctx.agent.call(protocol.PortProbe(address=host, port=port))
        # A master that speaks listens too.
        if reached.reached or _master_speaks() or time.monotonic() > until:
            return reached
        _wait(ctx)


def _unreached(ctx: NodeContext[Any], where: tuple[str, int], reason: str) -> list[Complaint]:
    data = {"place": f"{where[0]}:{where[1]}", "reason": reason}
    if not _speaks_after(ctx, timezone.now()):
        text = "vmwatch-master does not answer at {place} ({reason}), and the panel hears nothing of it either."
        return [Complaint(Text(text, data))] if _is_new(ctx) else []
    if _try(ctx, *where).reached:
        return []
    return [Complaint(Text(SHUT_OUT, data), Severity.ERROR)]


def _unheard(ctx: NodeContext[Any], where: str) -> list[Complaint]:
    """A node that reaches the master, but of which the panel has not heard a first word."""
    until = time.monotonic() + (PATIENCE_SECONDS if _is_new(ctx) else 0.0)
    while _master_speaks() and not NodeWatch.objects.filter(node=ctx.node).exclude(heard_at=None).exists():
        if time.monotonic() > until:
            young = not _is_new(ctx) and ctx.node.created_at > timezone.now() - FIRST_MESSAGE
            text = "vmwatch-node reaches vmwatch-master at {place}, but nothing was heard of it yet."
            return [] if young else [Complaint(Text(text, {"place": where}))]
        _wait(ctx)
    return []


def _is_new(ctx: NodeContext[Any]) -> bool:
    return ctx.node.state == NodeState.PREPARING


def _wait(ctx: NodeContext[Any]) -> None:
    ctx.stop_if_asked()
    time.sleep(LOOK_SECONDS)


def _master_speaks() -> bool:
    return _spoke_since(timezone.now() - MASTER_SILENT)


def _speaks_after(ctx: NodeContext[Any], moment: datetime) -> bool:
    """Whether the master is heard of again: one that has just died was heard a moment ago too."""
    until = time.monotonic() + SPEAKS_SECONDS
    while not _spoke_since(moment):
        if time.monotonic() > until:
            return False
        _wait(ctx)
    return True


def _spoke_since(moment: datetime) -> bool:
    return MasterWatch.objects.filter(id=1, heard_at__gte=moment).exists()
