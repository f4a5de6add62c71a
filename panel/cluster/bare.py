"""Asking a host that has no agent of ours: a program that the porter there runs from memory (nodeagent/bare.py).

Nothing is written for it on the host, so one can look before anything is; and what an agent cannot take away any more,
it takes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from panel.cluster import agent_package
from panel.cluster.porter import Porter

SECONDS = 40.0
"""More than all of its own waits."""


@lru_cache
def _program() -> str:
    return (agent_package.ROOT / "nodeagent" / "bare.py").read_text(encoding="utf-8")


def ask(porter: Porter, command: str, **request: Any) -> dict[str, Any]:
    """What the host answers to one of the program's commands; raises as the porter does."""
    return porter.run(_program(), command, request, SECONDS)
