"""Asking a host that has no agent of ours: a program that its Python runs from memory (nodeagent/bare.py).

Nothing is written for it on the host, so one can look before anything is; and what an agent cannot take away any more,
it takes. Programs that print before it do no harm: its answer stands behind a mark of its own.
"""

from __future__ import annotations

import json
import secrets
from functools import lru_cache
from typing import Any

from panel.cluster import agent_package
from panel.cluster.ssh import BARE, Connection
from panel.core.errors import NodeUnreachable

SECONDS = 40.0
"""More than all of its own waits."""
_TAIL = """
import sys
print(request["answer"] + json.dumps(COMMANDS[request["command"]](request)), flush=True)
"""


@lru_cache
def _program() -> str:
    path = agent_package.ROOT / "nodeagent" / "bare.py"
    return path.read_text(encoding="utf-8") + _TAIL


def ask(connection: Connection, command: str, **request: Any) -> dict[str, Any]:
    """What the host answers to one of the program's commands; raises NodeUnreachable where it says nothing of use."""
    mark = f"vmpanel-{secrets.token_hex(8)}:"
    message = {"program": _program(), "request": {**request, "command": command, "answer": mark}}
    code, shown = connection.run_constant(BARE, SECONDS, stdin=json.dumps(message).encode())
    _, found, answer = shown.partition(mark)
    if not found:
        last = (shown.strip().splitlines() or [f"it ended with {code}"])[-1][:200]
        raise NodeUnreachable(node=connection.address.name, reason=f"its Python gives no answer: {last}")
    result: dict[str, Any] = json.loads(answer.splitlines()[0])
    return result
