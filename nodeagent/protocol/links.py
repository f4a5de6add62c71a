"""Requests about interfaces that the panel makes on the host itself: bonds, and VLANs of the host's interfaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List

from nodeagent.protocol.wire import Nothing, Request, command

BOND, VLAN = "bond", "vlan"
MODES = ("active-backup", "802.3ad", "balance-xor", "balance-rr", "balance-tlb", "balance-alb")
"""How a bond uses its ports; 802.3ad is LACP, which the switch must speak."""


@dataclass(frozen=True)
class LinkMade:
    """The interface is there. Other than 0, `confirm_within` is the seconds in which LinkConfirm must be asked for."""

    name: str
    confirm_within: float = 0.0


@command
class LinkEnsure(Request[LinkMade]):
    """Have a bond of these ports, or a VLAN on the parent; the node remembers it and makes it again after a restart.

    Ports are interfaces that the host does not use itself: without addresses, routes or others on top of them. On
    trial: unless it is confirmed by LinkConfirm within `trial_seconds` it is gone again, whatever became of the agent.
    One that is there already is for good.

    Refused with nothing changed: `exists` where the host has an interface of this name that the panel did not make,
    `no_such_interface`, `in_use` for ports that are, `unsupported` where the kernel has none.
    """

    COMMAND = "link_ensure"
    RESULT = LinkMade
    name: str
    kind: str
    ports: List[str] = field(default_factory=list)
    mode: str = ""
    parent: str = ""
    vlan: int = 0
    trial_seconds: float = 0.0


@command
class LinkConfirm(Request[Nothing]):
    """The interface stays: the panel has reached the host since, over a new connection.

    `undone` where it was taken away already, and for the agent that made it.
    """

    COMMAND = "link_confirm"
    RESULT = Nothing
    name: str


@command
class LinkRemove(Request[Nothing]):
    """Remove it; its ports are as they were. Absent is success, `in_use` while something uses it.

    One that the panel did not make is left alone.
    """

    COMMAND = "link_remove"
    RESULT = Nothing
    name: str
