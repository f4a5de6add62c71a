"""cluster.examine (`vmpanel doctor`): compare the database with the nodes, item by item. Changes nothing."""

from __future__ import annotations

from typing import Any

from panel.core.wording import Text
from panel.doctor.services import examine
from panel.tasks.context import Context
from panel.tasks.operation import Operation, Params, Step

MOST_TOLD = 500
"""Findings that a task's result holds; their number is told besides."""


class ExamineParams(Params):
    """Nothing to choose."""


def look(ctx: Context[ExamineParams]) -> dict[str, Any]:
    """Everything was looked at, and what is wrong is in the result."""
    found = examine(ctx.progress)
    for each in found[:MOST_TOLD]:
        mend = f", mended by {each.mend}" if each.mend else ""
        place = f"{each.node}: " if each.node else ""
        told = {"place": place, "object": each.object, "text": each.said, "code": each.code, "mend": mend}
        ctx.log(Text("{place}{object}: {text} ({code}{mend})", told), "warning")
    return {"result": {"findings": [each.as_json() for each in found[:MOST_TOLD]], "count": len(found)}}


class ExamineCluster(Operation[ExamineParams]):
    """Compare the database with every node: domains, disks, bridges, filters, addresses, locks. Changes nothing."""

    name = "cluster.examine"
    label = "Examine"
    permission = "cluster.manage"
    params = ExamineParams
    on_failure = "stop"
    rare = True
    # No undo: it only reads.
    steps = (Step(look, "Compare the database with the nodes"),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Examine the cluster")
