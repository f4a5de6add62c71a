"""vm.settle: a person says which of a VM's copies is the right one, or where it lives since it was moved by hand."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from pydantic import Field

from nodeagent.protocol import host, identity, network, storage
from panel.accounts.models import User
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import Agent
from panel.core.errors import NodeError, NotFound, OperationFailed, WrongState
from panel.core.wording import Text
from panel.monitoring import duplicates
from panel.storage.models import Volume
from panel.storage.sharing import see_the_same
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import elsewhere
from panel.vms.context import VmContext
from panel.vms.models import Cause, Sighting, Vm, VmStatus
from panel.vms.operations.configure_guest import restore_seed
from panel.vms.requirements import requirement
from panel.vms.spec import domain_spec
from panel.vms.status import Observation, StatusLog

NEITHER = "“{other_node}” has neither a domain of the VM nor all of its disks ({names})."
RUNS_THERE = "The VM runs on “{source_node}”, and not on “{other_node}”. Have the others stopped, or name that one."
SAYS_NOT = "“{other_node}” does not say whether it has a copy of the VM: {reason}"
STAYS = "What “{other_node}” has of the VM stays: a domain, or disks, that are not it any more."


class SettleParams(Params):
    """Which copy is right, and what becomes of the others."""

    node: str | None = Field(
        default=None, description="Name of the node whose copy is the VM; none: the one that it belongs to."
    )
    stop_others: bool = Field(default=False, description="Force the copies on other nodes off. Their disks stay.")
    delete_others: bool = Field(
        default=False,
        description="Delete what other nodes have of the VM, which must be off there; what all nodes see stays.",
    )


class SettleContext(VmContext[SettleParams]):
    """The VM, and the node that has the right copy."""

    @cached_property
    def right(self) -> Node:
        """The node that was named; raises NotFound for one that surely has no copy of the VM."""
        vm, name = self.vm, self.params.node
        if name is None or name == vm.node.name:
            return vm.node
        known = [each.node for each in vm.sightings.select_related("node")]
        # Where none is known of, the node is asked when its turn comes.
        nodes = known or list(Node.objects.filter(cluster=vm.cluster_id, name=name))
        for node in nodes:
            if node.name == name:
                return node
        raise NotFound("No copy of the VM is known on that node.", object="node", id=name, field="node")

    def at(self, node: Node) -> Agent:
        """The agent of a node."""
        return Agent(node, self)


def look_at_copies(ctx: SettleContext) -> dict[str, Any]:
    """The right node has the VM, its domain or at least all of its disks; which other nodes have it too is known."""
    vm, right = ctx.vm, ctx.right
    there = ctx.at(right).call(host.HostInfo(uuid=str(vm.uuid)))
    missing = [volume for volume in ctx.volumes() if not _has(ctx.at(right), volume)]
    if not there.exists and missing:
        names = ", ".join(f"“{volume.place}”" for volume in missing)
        raise OperationFailed(Text(NEITHER, {"other_node": right.name, "names": names}), step=ctx.step_name)
    others = elsewhere.look(ctx, besides=right)
    active = [node.name for node, state in others.items() if state.state in duplicates.ACTIVE]
    if right != vm.node and there.state not in duplicates.ACTIVE and active and not ctx.params.stop_others:
        text = Text(RUNS_THERE, {"source_node": active[0], "other_node": right.name})
        raise OperationFailed(text, step=ctx.step_name)
    if missing and right != vm.node:
        ctx.log(
            Text(
                "Not where the panel has it on “{other_node}”: {places}.",
                {"other_node": right.name, "places": ", ".join(each.place for each in missing)},
            ),
            "warning",
        )
    return {"exists": there.exists, "state": there.state, "others": [node.pk for node in others]}


def stop_copies(ctx: SettleContext) -> dict[str, Any]:
    """The copies that are not the VM are off, where that was asked for."""
    if not ctx.params.stop_others:
        return {"stopped": []}
    right, vm = ctx.right, ctx.vm
    others = {each.node for each in vm.sightings.select_related("node")} | {vm.node}
    stopped = []
    for node in sorted(others - {right}, key=lambda each: each.pk):
        ctx.at(node).call(host.HostStop(uuid=str(vm.uuid)))
        ctx.log(Text("The copy on “{other_node}” is off.", {"other_node": node.name}))
        stopped.append(node.name)
    return {"stopped": stopped}


def settle(ctx: SettleContext) -> dict[str, Any]:
    """The VM belongs to the node that was named; what is active elsewhere is known not to be it."""
    right = ctx.right
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        left, was_active = vm.node, vm.status in duplicates.ACTIVE and not ctx.params.stop_others
        if left != right:
            vm.node = right
            # The numbers of one node's messages say nothing beside another's.
            vm.observed_epoch = vm.observed_sequence = 0
            vm.save(update_fields=["node", "observed_epoch", "observed_sequence"])
            known = ctx.output(look_at_copies)
            status = known["state"] if known["exists"] else VmStatus.MISSING
            log = StatusLog()
            log.record(vm, Observation(status, timezone.now(), Cause.TASK, right, task_id=ctx.task.pk))
            log.write()
            Volume.objects.filter(Q(disk__vm=vm) | Q(auxiliary_disk__vm=vm)).exclude(node=None).update(node=right)
            if was_active:
                seen = {"status": VmStatus.RUNNING, "seen_at": timezone.now()}
                Sighting.objects.update_or_create(vm=vm, node=left, defaults=seen)
        vm.sightings.filter(node=right).delete()
        # Those that are off are what was decided against, and no danger.
        vm.sightings.exclude(status__in=duplicates.ACTIVE).delete()
        if ctx.params.stop_others:
            vm.sightings.all().delete()
        vm.sightings.update(accepted=True)
        elsewhere.say(vm)
    return {"left": left.pk if left != right else None}


def have_domain(ctx: SettleContext) -> dict[str, Any]:
    """The node has the VM's domain for good, its seed and its ports' filters; one that is there stays as it is."""
    vm = ctx.look_again()
    ctx.__dict__.pop("agent", None)
    restore_seed(ctx)
    spec = domain_spec(vm)
    there = ctx.agent.call(host.HostInfo(uuid=spec.uuid))
    if there.exists and there.persistent:
        # Also of one whose memory is saved, which is described no more until it goes on.
        ctx.agent.call(network.FiltersEnsure(guards=[network.VmFilters(spec.uuid, spec.interfaces)]))
    else:
        ctx.agent.call(host.HostCreate(spec=spec, before=spec))
    ctx.agent.call(host.HostAutostart(uuid=spec.uuid, enabled=spec.autostart))
    ctx.read_state(host.HostInfo(uuid=spec.uuid))
    return {"result": {"node": vm.node.name}}


def delete_copies(ctx: SettleContext) -> dict[str, Any]:
    """What other nodes have of the VM is named, and deleted where that was asked for; never what both nodes see.

    Every node is asked: where this ended half way before, it is not known any more where the VM was.
    """
    vm = ctx.look_again()
    known = {pk for pk in (*ctx.output(look_at_copies)["others"], ctx.output(settle).get("left")) if pk}
    asked = Q(pk__in=known) | Q(cluster=vm.cluster_id, state=NodeState.READY)
    deleted = []
    for node in Node.objects.filter(asked).exclude(pk=vm.node_id).order_by("pk"):
        try:
            if _leave_or_delete(ctx, node):
                deleted.append(node.name)
        except NodeError as error:
            if node.pk in known:
                raise
            ctx.log(Text(SAYS_NOT, {"other_node": node.name, "reason": error.text}), "warning")
    return {"deleted": deleted}


def _leave_or_delete(ctx: SettleContext, node: Node) -> bool:
    """Whether anything of the VM was deleted on the node; a domain that is not there is filtered no more."""
    vm, agent, right, uuid = ctx.vm, ctx.at(node), ctx.at(ctx.vm.node), str(ctx.vm.uuid)
    exists = agent.call(host.HostInfo(uuid=uuid)).exists
    if not exists:
        agent.call(network.FiltersEnsure(guards=[network.VmFilters(uuid, [])]))
    auxiliary_disks = list(vm.auxiliary_disks.select_related("volume__pool", "vm__pool"))
    volumes = [*ctx.volumes(), *[auxiliary_disk.volume for auxiliary_disk in auxiliary_disks]]
    own = [each for each in volumes if _has(agent, each) and not see_the_same(right, agent, each.pool)]
    if exists or own:
        if not ctx.params.delete_others:
            ctx.log(Text(STAYS, {"other_node": node.name}), "warning")
            return False
        agent.call(host.HostDelete(uuid=uuid))
    for volume in own:
        agent.call(storage.VolumeDelete(volume.ref))
    # Without a domain a seed is of no use, and it holds secrets: nobody else would ever remove it.
    seeds = [
        seed
        for seed in (vm.seed_ref, *[auxiliary_disk.seed_ref for auxiliary_disk in auxiliary_disks])
        if _has_seed(agent, seed)
    ]
    if seeds and (vm.pool.store_apart or not see_the_same(right, agent, vm.pool)):
        for seed in seeds:
            agent.call(identity.SeedDelete(seed))
            ctx.log(Text("Its seed on “{other_node}” is deleted.", {"other_node": node.name}))
    if exists or own:
        ctx.log(Text("What “{other_node}” had of the VM is deleted.", {"other_node": node.name}))
    return bool(exists or own)


def _has(agent: Agent, volume: Volume) -> bool:
    return agent.call(storage.VolumeInfo(volume.ref, volume.format)).exists


def _has_seed(agent: Agent, seed: storage.VolumeRef) -> bool:
    return agent.call(storage.VolumeInfo(seed, "raw")).exists


class SettleVm(Operation[SettleParams]):
    """Say on which node the right copy of the VM is, when several have it or it was moved by hand.

    The VM belongs to that node from then on, with the disks that are there, running or off. Copies elsewhere are left
    as they are, or forced off or deleted if asked.
    """

    name = "vm.settle"
    label = "Settle"
    offered = (
        requirement("in several places", lambda vm: vm.seen_elsewhere or vm.status == VmStatus.MISSING, "in one place"),
    )
    rare = True
    permission = "cluster.manage"
    params = SettleParams
    context = SettleContext
    on_failure = "stop"
    dangerous = True
    locks = (exclusive("vm"), shared("node"))
    # Forward only: what a person decided stands, and may be decided anew.
    steps = (
        Step(look_at_copies, "Look at the copies"),
        Step(stop_copies, "Force other copies off"),
        Step(settle, "Note which copy is the VM"),
        Step(have_domain, "See that its node has all of it"),
        Step(delete_copies, "See what other nodes have of it"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Settle where VM {vm} is", {"vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node without a copy, and a VM that is in one place only."""
        right = ctx.right
        if ctx.params.node is None and right == ctx.vm.node and not ctx.vm.sightings.exists():
            raise WrongState(object="vm", id=ctx.vm.pk, state="known on one node only", field="id")
