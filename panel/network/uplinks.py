"""Which interface of a node a network goes out by, as an option says it: one name for all nodes, or by node.

“eth0” is every node's, “eth0, node2=eno1” all others' but node2's, and “node1=eth0, node2=eno1” only theirs.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$"
INTERFACE = re.compile(PATTERN)
"""What interfaces are called (as nodeagent/network/bridge.py has it)."""
NODE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z")
"""What nodes are called (panel/cluster/operations/add.py)."""
WRONG = "must be an interface's name for all nodes, or by node, as in “eth0, node2=eno1”"
FOR_OTHERS = ""


def by_node(text: str) -> dict[str, str]:
    """The interfaces by the names of nodes, that of all others by ""; raises ValueError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        node, separator, name = part.strip().rpartition("=")
        node = node.strip()
        if not INTERFACE.match(name.strip()) or (separator and not NODE.match(node)) or node in found:
            raise ValueError(WRONG)
        found[node] = name.strip()
    return found


def of_node(text: str, node: str) -> str:
    """The interface of the node of this name; "" where none is said for it."""
    found = by_node(text)
    return found.get(node, found.get(FOR_OTHERS, ""))


def meet(one: str, other: str) -> bool:
    """Whether some node would have the same interface by both."""
    mine, theirs = by_node(one), by_node(other)
    found = [(mine.get(each, mine.get("")), theirs.get(each, theirs.get(""))) for each in mine.keys() | theirs.keys()]
    return any(first and first == second for first, second in found)


def _checked(text: str) -> str:
    return ", ".join(f"{node}={name}" if node else name for node, name in by_node(text).items())


UplinkField = Annotated[str, Field(max_length=1000), AfterValidator(_checked)]
"""Such an option."""
