"""What was made on a node by which it might be lost: the node is reached anew, and told that it stays."""

from __future__ import annotations

import time
from typing import Any

from nodeagent.protocol import Request
from panel.cluster.nodes import Agent
from panel.core.errors import NodeUnreachable

TRIAL_SECONDS = 60.0
"""Within which a node must be reached anew of whose interfaces something was made."""
AGAIN_SECONDS = 0.5


def confirm(agent: Agent, request: Request[Any], within: float) -> None:
    """What was made stays so, since the node can be reached anew; raises NodeError where it cannot in time."""
    until = time.monotonic() + within
    while True:
        try:
            agent.call_anew(request)
            return
        except NodeUnreachable:
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN_SECONDS)
