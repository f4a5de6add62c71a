"""Nodes that a VM does not belong to and that have, or had last, a domain of its UUID.

Where a VM was last seen running is where its newest data are. So a copy that goes off while the VM's own node does not
run it is not forgotten (monitoring/duplicates.py): until a person says where the VM lives (vm.settle) nothing starts,
repairs or deletes what may be the older disks.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from nodeagent.protocol import host
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import Agent
from panel.core.errors import NodeError
from panel.core.wording import Text
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks.requirements import demand
from panel.vms.context import VmContext
from panel.vms.models import Sighting, Vm, VmStatus
from panel.vms.requirements import NOT_ELSEWHERE

ACTIVE = (VmStatus.RUNNING, VmStatus.PAUSED)
LOOK_SECONDS = 20.0
COPY = "A copy of VM “{vm}” that was decided against is still active on {others}."
TWICE = (
    "VM “{vm}” is active on “{own}” and on {others} at the same time. Both may write to its disks. "
    "Say which one is right."
)
ELSEWHERE = "VM “{vm}” is active on {others}, but belongs to “{own}”. Say which one is right."
MOVED = (
    "VM “{vm}” ran last on {others}, where it is off now, but belongs to “{own}”: it was moved by hand, and "
    "its newest data are where it ran last. Say where it lives (vm.settle)."
)


def say(vm: Vm) -> None:
    """Have the problem open, or closed, that the VM's sightings are; `vm` is a row taken FOR UPDATE."""
    sightings = list(vm.sightings.select_related("node"))
    undecided = [each for each in sightings if not each.accepted]
    if vm.seen_elsewhere != bool(undecided):
        vm.seen_elsewhere = bool(undecided)
        vm.save(update_fields=["seen_elsewhere"])
    if not sightings:
        close_problem(_key(vm))
        return
    text, severity = _worded(vm, sightings, undecided)
    open_problem(_key(vm), text, severity=severity, object_type="vm", object_id=vm.pk)


def _worded(vm: Vm, sightings: list[Sighting], undecided: list[Sighting]) -> tuple[Text, str]:
    where = {"vm": vm.name, "own": vm.node.name}
    if not undecided:
        return Text(COPY, {**where, "others": _nodes(sightings)}), Severity.WARNING
    if active := [each for each in undecided if each.status in ACTIVE]:
        twice = vm.status in ACTIVE
        severity = Severity.ALARM if twice else Severity.ERROR
        return Text(TWICE if twice else ELSEWHERE, {**where, "others": _nodes(active)}), severity
    return Text(MOVED, {**where, "others": _nodes(undecided)}), Severity.ERROR


def _nodes(sightings: list[Sighting]) -> str:
    return ", ".join(f"“{each.node.name}”" for each in sightings)


def _key(vm: Vm) -> str:
    return f"vm:{vm.pk}:duplicate"


def refuse_moved(ctx: VmContext[Any]) -> None:
    """Raise WrongState where the VM's own node has no domain of it and another node has one; every node is asked.

    What is found is remembered, for vm.settle. A node that does not answer is not known not to have it: that is said.
    """
    vm = ctx.look_again()
    demand(vm, NOT_ELSEWHERE)
    uuid = str(vm.uuid)
    if ctx.agent.call(host.HostInfo(uuid=uuid)).exists:
        return
    found = look(ctx)
    if found:
        remember(vm, found)
        demand(ctx.look_again(), NOT_ELSEWHERE)


def look(ctx: VmContext[Any], besides: Node | None = None) -> dict[Node, host.HostState]:
    """The other nodes of the cluster that have a domain of the VM's UUID, asked now."""
    vm, found = ctx.vm, {}
    own = besides or vm.node
    for node in Node.objects.filter(cluster=vm.cluster_id).exclude(pk=own.pk).exclude(state=NodeState.PREPARING):
        if node.state != NodeState.READY:
            ctx.log(
                Text("“{other_node}” cannot be asked whether it has a copy of the VM.", {"other_node": node.name}),
                "warning",
            )
            continue
        try:
            state = Agent(node, ctx).call(host.HostInfo(uuid=str(vm.uuid)), deadline=LOOK_SECONDS)
        except NodeError as error:
            ctx.log(
                Text(
                    "“{other_node}” does not say whether it has a copy of the VM: {error}",
                    {"other_node": node.name, "error": error.text},
                ),
                "warning",
            )
            continue
        if state.exists:
            found[node] = state
    return found


def remember(vm: Vm, found: dict[Node, host.HostState]) -> None:
    """The copies are known, as if vmwatch had told of them."""
    with transaction.atomic():
        row = Vm.objects.select_for_update().get(pk=vm.pk)
        for node, state in found.items():
            seen = {"status": state.state, "seen_at": timezone.now()}
            Sighting.objects.update_or_create(vm=row, node=node, defaults=seen)
        say(row)
