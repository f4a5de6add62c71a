"""vm.settle: a person says which of a VM's copies is the right one."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone
from pydantic import Field

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.core.errors import NotFound, WrongState
from panel.monitoring import duplicates
from panel.storage.models import Volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms.context import VmContext
from panel.vms.models import Cause, Sighting, Vm, VmStatus
from panel.vms.status import Observation, StatusLog


class SettleParams(Params):
    """Which copy is right, and what becomes of the others."""

    node: str | None = Field(
        default=None, description="Name of the node whose copy is the VM; none: the one that it belongs to."
    )
    stop_others: bool = Field(default=False, description="Force the copies on other nodes off. Their disks stay.")


def stop_copies(ctx: VmContext[SettleParams]) -> dict[str, Any]:
    """The copies that are not the VM are off, where that was asked for."""
    if not ctx.params.stop_others:
        return {"stopped": []}
    right = _right_node(ctx)
    vm = ctx.vm
    others = {each.node for each in vm.sightings.select_related("node")} | {vm.node}
    stopped = []
    for node in sorted(others - {right}, key=lambda each: each.pk):
        Agent(node, ctx).call(host.HostStop(uuid=str(vm.uuid)))
        ctx.log(f"The copy on “{node.name}” is off.")
        stopped.append(node.name)
    return {"stopped": stopped}


def settle(ctx: VmContext[SettleParams]) -> None:
    """The VM belongs to the node that was named; what is active elsewhere is known not to be it."""
    right = _right_node(ctx)
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        left, was_active = vm.node, vm.status in duplicates.ACTIVE and not ctx.params.stop_others
        if left != right:
            vm.node = right
            # The numbers of one node's messages say nothing beside another's.
            vm.observed_epoch = vm.observed_sequence = 0
            vm.save(update_fields=["node", "observed_epoch", "observed_sequence"])
            there = vm.sightings.get(node=right).status
            log = StatusLog()
            log.record(vm, Observation(there, timezone.now(), Cause.TASK, right, task_id=ctx.task.pk))
            log.write()
            Volume.objects.filter(disk__vm=vm).update(node=right)
            if was_active:
                seen = {"status": VmStatus.RUNNING, "seen_at": timezone.now()}
                Sighting.objects.update_or_create(vm=vm, node=left, defaults=seen)
        vm.sightings.filter(node=right).delete()
        if ctx.params.stop_others:
            vm.sightings.all().delete()
        vm.sightings.update(accepted=True)
        duplicates.say(vm)


def _right_node(ctx: VmContext[SettleParams]) -> Node:
    """The node that was named; raises NotFound for one where no copy of the VM is known."""
    vm = ctx.vm
    if ctx.params.node is None:
        return vm.node
    known = [vm.node, *(each.node for each in vm.sightings.select_related("node"))]
    for node in known:
        if node.name == ctx.params.node:
            return node
    raise NotFound("No copy of the VM is known on that node.", object="node", id=ctx.params.node, field="node")


class SettleVm(Operation[SettleParams]):
    """Say on which node the right copy of the VM is, when its UUID is active on several.

    The VM belongs to that node from then on, with the disks that are there. Copies elsewhere are left
    as they are, or forced off if asked; nothing of them is deleted.
    """

    name = "vm.settle"
    label = "Settle"
    rare = True
    permission = "cluster.manage"
    params = SettleParams
    context = VmContext
    on_failure = "stop"
    dangerous = True
    locks = (exclusive("vm"), shared("node"))
    # Forward only: what a person decided stands, and may be decided anew.
    steps = (
        Step(stop_copies, "Force other copies off"),
        Step(settle, "Note which copy is the VM"),
    )

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Settle where VM {ctx.task.object_name} is"

    def applies(self, obj: Vm) -> bool:
        """There are copies to decide about."""
        return obj.seen_elsewhere

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node without a copy, and a VM that is in one place only."""
        if not ctx.vm.sightings.exists():
            raise WrongState(object="vm", id=ctx.vm.pk, state="known on one node only", field="id")
        _right_node(ctx)
