"""Ports of nodes that lead to VMs, as nodes are told them."""

from __future__ import annotations

from collections.abc import Iterable

from nodeagent.protocol.host import Forward
from panel.vms.models import PortForward


def on_node(forwards: Iterable[PortForward]) -> list[Forward]:
    """As nodes are told them."""
    return [Forward(each.protocol, each.port, each.last_port, each.to_port) for each in forwards]
