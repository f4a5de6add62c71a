"""node.check (VMmanager's vmmini): is the node reachable, and is all of ours on it working?

Only a node that ssh or its agent cannot be reached on is unreachable. What else is wrong is a problem of
one part, which closes when that part is well again; the other parts are looked at all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from nodeagent.protocol import node as protocol
from panel.cluster import health, marks, parts, services
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.nodes import client
from panel.cluster.parts import Complaint
from panel.core.errors import (
    AlreadyExists,
    CommandFailed,
    ConfigError,
    Fenced,
    NodeError,
    NodeRefused,
    NodeTimeout,
    NodeUnreachable,
    VersionMismatch,
)
from panel.core.wording import Text, joined
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks.locks import shared
from panel.tasks.operation import Operation, Params, Step

LIBVIRT_SECONDS = 60.0
"""More than the agent itself waits for a libvirtd that it has started (30 s), so that it can say so."""
FACTS_SECONDS = 30.0
FULL_BYTES = 16 * 1024**2
NEED_LIBVIRT = ("vmwatch", "vms")
"""The parts that cannot be well while libvirt is away: that is libvirt's problem alone."""

Check = Callable[[NodeContext[Any]], Sequence["str | Complaint"]]


class CheckNodeParams(Params):
    """Nothing to choose."""


def check_node(ctx: NodeContext[Any]) -> dict[str, Any]:
    """What the node is was read anew; what is wrong and could not be mended is an open problem."""
    node = ctx.node
    try:
        found = {"programs": bring_programs(ctx)}
        found |= {name: _look(check, ctx) for name, check in _checks().items()}
        found["host"] = []
    except AlreadyExists as error:
        found = {"host": [Complaint(error.text, Severity.ERROR)]}
    except (NodeUnreachable, NodeRefused, VersionMismatch) as error:
        services.report_unreachable(node, error.text)
        return {"result": {"reachable": False, "reason": error.message}}
    if found.get("libvirt"):
        for name in NEED_LIBVIRT:
            found.pop(name, None)
    services.report_reachable(node)
    for name, complaints in found.items():
        _report(node, name, complaints)
    return {"result": {"reachable": True, "complaints": [each.text for every in found.values() for each in every]}}


def check_part(ctx: NodeContext[Any], name: str) -> None:
    """One part of the node was looked at as ever, so that a problem that was mended ends at once."""
    _report(ctx.node, name, _look(parts.get(name).check, ctx))


def bring_programs(ctx: NodeContext[Any]) -> list[Complaint]:
    """The node has the panel's own programs, and answers; vmwatch-node is started anew by its part.

    Raises NodeUnreachable, NodeRefused, VersionMismatch where there is no speaking with it.
    """
    try:
        replaced = client(ctx.node).update_programs()
    except NodeTimeout as error:
        raise NodeUnreachable(node=ctx.node.name, reason=error.message) from error
    except CommandFailed as error:
        text = Text("The panel's programs cannot be brought up to date: {text}.", {"text": error.data["text"]})
        return [Complaint(joined([text, *_full_disks(ctx)], " "), Severity.ERROR)]
    if replaced:
        ctx.log(Text("Brought up to date: {programs}.", {"programs": ", ".join(replaced)}))
    return []


def _full_disks(ctx: NodeContext[Any]) -> list[Text]:
    """Which of the node's disks are full, as other sentences: ssh says no more than that it failed."""
    facts = ctx.agent.call(protocol.NodeFacts(), deadline=FACTS_SECONDS)
    full = [each for each in facts.file_systems if each.free_bytes < FULL_BYTES]
    data = [{"path": each.path, "free": each.free_bytes // 1024**2} for each in full]
    return [Text("Its disk is full: {path} has {free} MiB free.", each) for each in data]


def ensure_libvirt(ctx: NodeContext[Any]) -> list[Complaint]:
    """libvirt answers, started when it did not run; QEMU's user may open /dev/kvm, where that can be had."""
    try:
        ctx.agent.call(protocol.LibvirtEnsure(), deadline=LIBVIRT_SECONDS)
    except NodeTimeout:
        # Whatever did not end there waited for it; that a request had a deadline tells nobody anything.
        text = Text("libvirtd does not answer; no new VM is placed on the node meanwhile.")
        return [Complaint(text, Severity.ERROR)]
    return []


def read_facts(ctx: NodeContext[Any]) -> list[Complaint]:
    """The node's facts are recorded, among them whether libvirt answers; complains of its clock."""
    asked_at = time.time()
    facts = ctx.agent.call(protocol.NodeFacts(), deadline=FACTS_SECONDS)
    difference = health.clock_difference(asked_at, time.time(), facts.time)
    services.record_facts(ctx.node, facts)
    return health.clock_complaints(difference)


def check_virtualization(ctx: NodeContext[Any]) -> list[Complaint]:
    """Complains of a libvirt that is slow, and of a QEMU that may not use KVM."""
    return health.libvirt_complaints(ctx.node.facts)


def check_disk(ctx: NodeContext[Any]) -> list[Complaint]:
    """Complains of too little free space beside the storages."""
    return health.disk_complaints(ctx.node.facts)


def check_system(ctx: NodeContext[Any]) -> list[Complaint]:
    """Complains of another operating system than the cluster's first node has."""
    node = ctx.node
    first = Node.objects.filter(cluster=node.cluster).order_by("pk").first() or node
    return health.system_complaints(node.facts, first.facts, first.name)


def check_mark(ctx: NodeContext[Any]) -> list[Complaint]:
    """Complains of a host that another panel manages by now."""
    mark = ctx.agent.call(protocol.MarkRead())
    if mark.panel in ("", marks.panel_id()):
        return []
    other = marks.Mark(mark.panel, mark.node, mark.name, mark.panel_name).described
    text = Text("Another panel manages it too, {panel}: remove it from one of them.", {"panel": other})
    return [Complaint(text, Severity.ERROR)]


def _checks() -> dict[str, Check]:
    """Every part of a node and who looks at it; facts are read when libvirt has had its chance."""
    own: dict[str, Check] = {
        "libvirt": ensure_libvirt,
        "clock": read_facts,
        "virtualization": check_virtualization,
        "disk": check_disk,
        "system": check_system,
        "owner": check_mark,
    }
    return own | {name: part.check for name, part in parts.every().items()}


def _look(check: Check, ctx: NodeContext[Any]) -> list[Complaint]:
    try:
        return _look_once(check, ctx)
    except NodeUnreachable:
        # A connection that dies on the way says nothing of the node: a new one does.
        return _look_once(check, ctx)


def _look_once(check: Check, ctx: NodeContext[Any]) -> list[Complaint]:
    """What a part complains of; that the node cannot do something is its complaint too."""
    try:
        return [parts.complaint(each) for each in check(ctx)]
    except (NodeUnreachable, NodeRefused, VersionMismatch, Fenced):
        raise
    except (NodeError, ConfigError) as error:
        return [Complaint(error.text, Severity.ERROR)]


def _report(node: Node, name: str, complaints: Sequence[Complaint]) -> None:
    key = f"node:{node.pk}:{name}"
    if not complaints:
        close_problem(key)
        return
    wrong = joined((each.worded for each in complaints), " ")
    text = Text("Node “{node}”: {wrong}", {"node": node.name, "wrong": wrong})
    open_problem(key, text, severity=parts.worst(complaints), object_type="node", object_id=node.pk)


class CheckNode(Operation[CheckNodeParams]):
    """Check the node and mend what can be mended: its programs, libvirtd, storages, bridges, vmwatch."""

    name = "node.check"
    label = "Check"
    permission = "cluster.manage"
    params = CheckNodeParams
    context = NodeContext
    on_failure = "stop"
    locks = (shared("node"),)
    # No undo: it mends towards what shall be there.
    steps = (Step(check_node, "Check the node"),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Check node {node}", {"node": ctx.task.object_name})
