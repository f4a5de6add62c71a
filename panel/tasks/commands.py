"""What a step had nodes do, and how long each took: kept with the step, for whoever traces a request."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

MOST = 50
"""The last ones of a step; the same one again and again is one entry."""
DONE = "done"


class NodeCommand(TypedDict):
    """What a node was asked for, `times` one after the other: when first, how long it took in all, and how it ended."""

    node: str
    command: str
    at: str
    seconds: float
    times: int
    outcome: str


def note(kept: list[NodeCommand], node: str, command: str, at: datetime, seconds: float, outcome: str) -> None:
    """Add a command that has ended; `outcome` is DONE or an error's code."""
    last = kept[-1] if kept else None
    if last is not None and (last["node"], last["command"], last["outcome"]) == (node, command, outcome):
        last["times"] += 1
        last["seconds"] = round(last["seconds"] + seconds, 3)
        return
    kept.append(
        {
            "node": node,
            "command": command,
            "at": at.isoformat(),
            "seconds": round(seconds, 3),
            "times": 1,
            "outcome": outcome,
        }
    )
    del kept[:-MOST]
