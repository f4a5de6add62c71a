"""node.check (VMmanager's vmmini): is the node reachable, and is all of ours on it working?"""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import node as protocol
from panel.cluster import parts, services
from panel.cluster.context import NodeContext
from panel.core.errors import AlreadyExists, NodeError
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks.locks import shared
from panel.tasks.operation import Operation, Params, Step

CALL_SECONDS = 30.0


class CheckNodeParams(Params):
    """Nothing to choose."""


def check_node(ctx: NodeContext[Any]) -> dict[str, Any]:
    """What the node is was read anew; what is wrong and could not be mended is an open problem."""
    node = ctx.node
    try:
        facts = ctx.agent.call(protocol.LibvirtEnsure(), deadline=CALL_SECONDS)
        services.record_facts(node, facts)
        complaints = {name: part.check(ctx) for name, part in parts.every().items()}
    except NodeError as error:
        services.report_unreachable(node, error.message)
        return {"result": {"reachable": False, "reason": error.message}}
    except AlreadyExists as error:
        complaints = {"host": [error.message]}
    services.report_reachable(node)
    for name, sentences in complaints.items():
        key = f"node:{node.pk}:{name}"
        if sentences:
            text = f"Node “{node.name}”: {' '.join(sentences)}"
            open_problem(key, text, severity=Severity.WARNING, object_type="node", object_id=node.pk)
        else:
            close_problem(key)
    return {"result": {"reachable": True, "complaints": [each for found in complaints.values() for each in found]}}


class CheckNode(Operation[CheckNodeParams]):
    """Check the node and mend what can be mended: libvirtd, storages, bridges, vmwatch."""

    name = "node.check"
    label = "Check"
    permission = "cluster.manage"
    params = CheckNodeParams
    context = NodeContext
    on_failure = "stop"
    locks = (shared("node"),)
    # No undo: it mends towards what shall be there.
    steps = (Step(check_node, "Check the node"),)

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Check node {ctx.task.object_name}"
