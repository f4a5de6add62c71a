"""node.restart-service: libvirtd or vmwatch-node of a node is started anew. The guests run on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nodeagent.protocol import host
from nodeagent.protocol import node as protocol
from panel.cluster.context import NodeContext
from panel.cluster.operations.check import check_node
from panel.core.errors import NodeError
from panel.core.wording import Text
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step

RESTART_SECONDS = 90.0
"""libvirtd looks at each guest before it answers again."""
ON = ("running", "paused", "blocked")


class RestartServiceParams(Params):
    """Which service."""

    service: Literal["libvirtd", "vmwatch-node"] = Field(description="libvirtd or vmwatch-node; guests run on.")


def note_guests(ctx: NodeContext[RestartServiceParams]) -> dict[str, Any]:
    """It is known which guests run, where libvirt says so: a libvirtd that hangs is a reason to start it anew."""
    try:
        return {"running": _running(ctx)}
    except NodeError as error:
        ctx.log(Text("Which guests run is not known: {error}", {"error": error.text}), "warning")
        return {}


def restart_service(ctx: NodeContext[RestartServiceParams]) -> dict[str, Any]:
    """The service runs, as another process than before."""
    request = protocol.ServiceRestart(service=ctx.params.service)
    state = ctx.agent.call(request, deadline=RESTART_SECONDS)
    return {"pid": state.pid}


def look_at_guests(ctx: NodeContext[RestartServiceParams]) -> dict[str, Any]:
    """The guests that ran run on; one that does not is named."""
    before: dict[str, str] = ctx.output(note_guests).get("running", {})
    now = _running(ctx)
    gone = sorted(name for uuid, name in before.items() if uuid not in now)
    if gone:
        ctx.log(Text("These guests do not run any more: {guests}.", {"guests": ", ".join(gone)}), "warning")
    return {"result": {"guests": len(now), "ended": gone}}


def check_afterwards(ctx: NodeContext[Any]) -> dict[str, Any]:
    """The node was checked as ever: what was wrong and is mended is no problem any more."""
    return check_node(ctx)


def _running(ctx: NodeContext[Any]) -> dict[str, str]:
    """The names of the guests that run, by their UUIDs."""
    return {each.uuid: each.name for each in ctx.agent.call(host.HostsRead()).hosts if each.state in ON}


class RestartService(Operation[RestartServiceParams]):
    """Start libvirtd or vmwatch-node of the node anew. Its guests run on."""

    name = "node.restart-service"
    label = "Restart service"
    permission = "cluster.manage"
    params = RestartServiceParams
    context = NodeContext
    on_failure = "stop"
    asks = True
    placed = True
    # What libvirt has under way for other tasks (a move, a copy) would end with it.
    locks = (exclusive("node"),)
    supersedes = ("node.check",)
    # No undo: it mends towards what shall be there.
    steps = (
        Step(note_guests, "Note which guests run"),
        Step(restart_service, "Restart the service", weight=4),
        Step(look_at_guests, "See that the guests run on"),
        Step(check_afterwards, "Check the node", weight=2),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        data = {"service": ctx.params.service, "node": ctx.task.object_name}
        return Text("Restart {service} on node {node}", data)
