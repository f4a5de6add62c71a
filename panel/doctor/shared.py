"""What a node sees in shared storages of the VMs of other nodes: no leftovers of its own."""

from __future__ import annotations

from django.db.models import Prefetch

from nodeagent import storage as storages
from panel.cluster.models import Node
from panel.storage.models import NodePool, Volume
from panel.storage.selectors import node_of_volume
from panel.vms.models import AuxiliaryDisk, Vm
from panel.vms.spec import takes_seed, uses_seed


def files_of_others(node: Node) -> set[str]:
    """Places that belong to VMs of nodes which see the same files in a shared storage; a few queries."""
    own = NodePool.objects.filter(node=node, pool__shared=True).exclude(mark="")
    marks = dict(own.values_list("pool_id", "mark"))
    if not marks:
        return set()
    rows = NodePool.objects.filter(pool__in=marks).exclude(node=node).values_list("node_id", "pool_id", "mark")
    same = {(node_id, pool_id) for node_id, pool_id, mark in rows if mark == marks[pool_id]}
    found = {
        volume.place
        for volume in Volume.objects.filter(pool__in=marks).annotate(at=node_of_volume()).select_related("pool")
        if (volume.at, volume.pool_id) in same
    }
    auxiliary_disks = Prefetch("auxiliary_disks", AuxiliaryDisk.objects.select_related("image", "vm__pool"))
    vms = Vm.objects.filter(pool__in=marks).exclude(node=node).select_related("pool", "image")
    for vm in vms.prefetch_related(auxiliary_disks):
        if (vm.node_id, vm.pool_id) in same and not vm.pool.store_apart:
            found |= {storages.place(vm.seed_ref)} if uses_seed(vm) else set()
            found |= {
                storages.place(auxiliary_disk.seed_ref)
                for auxiliary_disk in vm.auxiliary_disks.all()
                if takes_seed(auxiliary_disk.image)
            }
    return found
