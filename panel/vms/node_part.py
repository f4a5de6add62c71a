"""The VMs' part of a node: with every check they are compared with what the node has of them.

Copies of images that were deleted meanwhile go too: else whoever sends and deletes ISO images fills the node.
"""

from __future__ import annotations

from typing import Any

from nodeagent.protocol import network, storage
from panel.cluster.context import NodeContext
from panel.cluster.parts import Complaint, Part, complaining
from panel.core.wording import Text
from panel.images.selectors import known_sums
from panel.storage.models import NodePool, Pool, PoolFault
from panel.vms.anti_spoofing import mending
from panel.vms.audit import AUDIT_SECONDS, audit_node
from panel.vms.models import Vm
from panel.vms.operations.removing import forget_vm


def prepare(ctx: NodeContext[Any]) -> None:
    """Domains that were on the host before us are known."""
    check(ctx)


def remove(ctx: NodeContext[Any]) -> None:
    """What is known of strangers goes with the node's row."""


def check(ctx: NodeContext[Any]) -> list[Complaint]:
    """Differences are kept with the VMs and are problems of theirs; complains of copies that cannot be removed."""
    audit_node(ctx.node, lambda request: ctx.agent.call(request, deadline=AUDIT_SECONDS))
    complaints: list[Complaint] = []
    with complaining(complaints, Text("VMs' ports cannot be filtered")):
        filter_again(ctx)
    # What lies in a shared one may be in the drive of a VM on another node, which this one cannot look at.
    usable = NodePool.objects.filter(node=ctx.node, fault=PoolFault.NONE)
    pools = Pool.objects.filter(cluster=ctx.node.cluster_id, on_nodes__in=usable)
    stores = {pool.store: pool.name for pool in pools if pool.store_apart or not pool.shared}
    for store, name in stores.items():
        with complaining(complaints, Text("Images that were deleted stay in the storage “{pool}”", {"pool": name})):
            tidied = ctx.agent.call(storage.ImagesTidy(store=store, keep=known_sums()))
            if tidied.removed:
                ctx.log(Text("Removed {count} copies of images that were deleted.", {"count": len(tidied.removed)}))
    return complaints


def filter_again(ctx: NodeContext[Any]) -> None:
    """The node remembers and has the anti-spoofing filters of all its VMs, whatever became of its record of them."""
    if mend := mending(ctx.node, ctx.agent.call(network.BridgesRead())):
        request, names = mend
        ctx.agent.call(request)
        if names:
            ctx.log(
                Text("Not filtered as they should be, and now again: {names}.", {"names": ", ".join(names)}), "warning"
            )


def leaves(ctx: NodeContext[Any]) -> list[Text]:
    """The domains of its VMs with their disks."""
    found = Vm.objects.filter(node=ctx.node).order_by("name")
    return [Text(STARTS if vm.autostart else STAYS, {"vm": vm.name, "uuid": str(vm.uuid)}) for vm in found]


STAYS = "the domain “{vm}” ({uuid}) with its disks"
STARTS = "the domain “{vm}” ({uuid}) with its disks, which starts with the host"


def forget(ctx: NodeContext[Any]) -> None:
    """Its VMs are not known; their names and addresses are free."""
    for vm in Vm.objects.filter(node=ctx.node).order_by("pk"):
        forget_vm(vm)


PART = Part(prepare=prepare, remove=remove, check=check, leaves=leaves, forget=forget)
