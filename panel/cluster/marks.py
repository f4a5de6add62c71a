"""The mark on a host that says whose node it is: /var/lib/vmpanel/node.json."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from dataclasses import dataclass
from typing import ClassVar

from django.conf import settings

from panel.cluster.models import Node


@dataclass(frozen=True)
class Mark:
    """Which node of which panel a host is. `panel` is panel_id() there; the names are for people, and may be empty."""

    PATH: ClassVar[str] = "/var/lib/vmpanel/node.json"

    panel: str
    node: int
    name: str = ""
    panel_name: str = ""

    @property
    def described(self) -> str:
        """The other panel and its node, as a person knows them."""
        return f"“{self.panel_name or self.panel}” (node “{self.name or self.node}” there)"


def mark_of(node: Node) -> bytes:
    """What the node's mark says, as the file's content."""
    mark = {"panel": panel_id(), "node": node.pk, "name": node.name, "panel_name": panel_name()}
    return f"{json.dumps(mark)}\n".encode()


def parse(text: str | None) -> Mark | None:
    """What a mark says; None for none, or for what is no mark."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(text or "{}")
        return Mark(str(told["panel"]), int(told["node"]), str(told.get("name", "")), str(told.get("panel_name", "")))
    return None


def panel_id() -> str:
    """What this panel marks its nodes with; tells nothing of its key."""
    return hashlib.sha256(b"panel\0" + settings.SECRET_KEY.encode()).hexdigest()[:16]


def panel_name() -> str:
    """What people of another panel may know this one by."""
    return settings.CONFIG.public_url or socket.gethostname()
