"""A new VM whose node stopped answering before anything was on it goes to the next node by itself."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nodeagent.protocol import host
from panel.cluster.models import Node
from panel.cluster.placement import Need, choose
from panel.core.errors import CapacityError, LibvirtFailure, NodeError, NodeTimeout, NodeUnreachable, Reschedule
from panel.core.wording import Text
from panel.storage.models import Volume
from panel.tasks import locks
from panel.tasks.models import Task, TaskLock, TaskStep
from panel.vms.models import Vm
from panel.vms.operations.deploying import DeployContext
from panel.vms.placing import bound_to, candidates, hold_promises, networks_of, promise_of
from panel.vms.settings import OF_THE_HOST
from panel.vms.status import tell_pages

GIB = 1024**3
ANSWER_SECONDS = 10.0
"""How long a node and its libvirt may take to say that they have no such domain."""


def find_answering_node(ctx: DeployContext[Any]) -> None:
    """The VM's node and its libvirt answer.

    Where they do not, nothing is there yet and the request named no node, the VM is the next node's: raises Reschedule,
    so that the step begins anew with it. Where there is none, raises what the node did.
    """
    try:
        ctx.agent.call(host.HostInfo(uuid=str(ctx.vm.uuid)), deadline=ANSWER_SECONDS)
    except (NodeUnreachable, NodeTimeout, LibvirtFailure) as error:
        if not error.retriable or ctx.params.node or not _is_begun_first(ctx):
            raise
        tried = [*ctx.checkpoint.get("tried", []), ctx.vm.node_id]
        if not _move_on(ctx, tried, error):
            raise
        raise Reschedule(0.0, {"tried": tried}) from error


def _is_begun_first(ctx: DeployContext[Any]) -> bool:
    """Whether the step was not begun before: else there may be a part of the image on the node."""
    return TaskStep.objects.get(task=ctx.task, name=ctx.step_name).attempts == 1


def _move_on(ctx: DeployContext[Any], tried: list[int], error: NodeError) -> bool:
    """Have the VM's records, its lock and its task on the next best node; False where there is none."""
    vm = ctx.vm
    with transaction.atomic():
        hold_promises(vm.cluster_id)
        try:
            node = choose(candidates(_others(vm, tried), vm.pool, networks_of(vm), bound_to(vm)), _need(ctx)).node
        except CapacityError:
            return False
        locks.hold("node", node.pk)
        if TaskLock.objects.filter(kind="node", object_id=node.pk, exclusive=True).exists():
            return False
        TaskLock.objects.filter(task=ctx.task, kind="node", object_id=vm.node_id).update(object_id=node.pk)
        Task.objects.filter(pk=ctx.task.pk).update(node_id=node.pk)
        Volume.objects.filter(disk__vm=vm).exclude(node=None).update(node=node)
        Vm.objects.filter(pk=vm.pk).update(node=node)
        ctx.log(
            Text(
                "{error} Nothing is there yet: the VM goes to the node “{node}”.",
                {"error": error.text, "node": node.name},
            ),
            "warning",
        )
        moved = ctx.look_again()
        transaction.on_commit(lambda: tell_pages([moved]))
    return True


def _others(vm: Vm, tried: list[int]) -> Any:
    nodes = Node.objects.filter(cluster=vm.cluster_id).exclude(pk__in=tried).select_related("cluster")
    return nodes.filter(accel="kvm") if vm.cpu_mode in OF_THE_HOST else nodes


def _need(ctx: DeployContext[Any]) -> Need:
    vm, target = ctx.vm, ctx.target
    written = target.image.virtual_bytes if target.image is not None else target.iso.size_bytes if target.iso else 0
    return Need(promise_of(vm), written, max(vm.vcpus, vm.max_vcpus), target.volume.size_gib * GIB)
