"""Requests about bridges and the NAT behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from nodeagent.protocol.wire import Nothing, Request, command


@dataclass(frozen=True)
class BridgeState:
    """A bridge of the node; `ports` are the interfaces joined to it."""

    name: str
    exists: bool
    ports: List[str]


@command
class BridgeEnsure(Request[BridgeState]):
    """Have the bridge with its gateway address, forwarding and, if asked, masquerading of the subnet.

    `gateway` and `subnet` are in CIDR form ("10.77.0.1/24", "10.77.0.0/24"). The node remembers the
    bridge and makes it again after a restart.
    """

    COMMAND = "bridge_ensure"
    RESULT = BridgeState
    name: str
    gateway: str
    subnet: str
    nat: bool = True


@command
class BridgeRemove(Request[Nothing]):
    """Remove the bridge and its rules; absent is success, `in_use` while guests are joined to it."""

    COMMAND = "bridge_remove"
    RESULT = Nothing
    name: str


@dataclass(frozen=True)
class BridgeList:
    """The bridges that the panel made on this node."""

    bridges: List[BridgeState]


@command
class BridgesRead(Request[BridgeList]):
    """List the bridges that the panel made on this node."""

    COMMAND = "bridges_read"
    RESULT = BridgeList
    MUTATES = False
