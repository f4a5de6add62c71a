"""The nodes in memory, as the rows of a dump that was upgraded say that they are.

A dump has no nodes, since how one speaks to them changes from release to release: of them it has which domains
there were, in which state and with which snapshots.
"""

from __future__ import annotations

from typing import Any

from nodeagent import storage as storages
from nodeagent.protocol.host import EMPTY, DiskSpec, DomainSpec, HostCreate, InterfaceSpec
from panel.cluster import fake
from panel.cluster.models import Node
from panel.network.models import Network
from panel.network.node_part import bridge_of
from panel.storage.models import NodePool, Volume
from panel.vms.models import UnmanagedDomain, Vm
from panel.vms.spec import domain_spec

Domains = dict[str, dict[str, Any]]
"""By node and UUID, as `1 308c97c0-…`."""


def domains() -> Domains:
    """Which domains the nodes have now."""
    return {
        f"{pk} {uuid}": {"state": domain.state, "snapshots": sorted(domain.snapshots)}
        for pk in Node.objects.values_list("pk", flat=True)
        for uuid, domain in sorted(fake.node(pk).domains.items())
    }


def remember(found: Domains) -> None:
    """Have every node's pools, bridges and volumes in memory, and the domains that were found."""
    for node in Node.objects.filter(is_fake=True):
        memory = fake.node(node.pk)
        memory.memory_mib, memory.capacity_bytes = node.facts["memory_mib"], 2**44
        for network in Network.objects.all():
            memory.call(bridge_of(network, node))
    for there in NodePool.objects.select_related("pool"):
        memory = fake.node(there.node_id)
        memory.pools.add(there.pool.name)
        if there.mark:
            memory.marks[there.pool.name] = there.mark
    for volume in Volume.objects.select_related("pool"):
        size = volume.size_bytes or 1024**3
        fake.node(volume.node_id).files[volume.place] = fake.FakeVolume(volume.format, size)
    vms = {str(vm.uuid): vm for vm in Vm.objects.select_related("pool", "iso")}
    foreign = {str(domain.uuid): domain for domain in UnmanagedDomain.objects.all()}
    for key, said in found.items():
        node_id, uuid = key.split()
        # The rest are domains of VMs that are forgotten.
        if uuid in vms or uuid in foreign:
            spec = domain_spec(vms[uuid]) if uuid in vms else _unmanaged_spec(foreign[uuid])
            _define(fake.node(int(node_id)), spec, **said)


def _define(memory: fake.FakeNode, spec: DomainSpec, state: str, snapshots: list[str]) -> None:
    for volume in (*spec.cdroms, spec.iso or EMPTY, *(disk.volume for disk in spec.disks)):
        if volume:
            memory.files.setdefault(storages.place(volume), fake.FakeVolume("qcow2", 1024**3))
    memory.call(HostCreate(spec=spec))
    domain = memory.domains[spec.uuid]
    domain.state = state
    for parent, name in zip((None, *snapshots), snapshots, strict=False):
        domain.snapshots[name] = fake.FakeSnapshot("running", with_memory=True, parent=parent)


def _unmanaged_spec(foreign: UnmanagedDomain) -> DomainSpec:
    disks = [DiskSpec(storages.at(place), "qcow2", "vda") for place in foreign.disks]
    interfaces = [InterfaceSpec(mac=mac, bridge="vmbr-nat0") for mac in foreign.macs]
    named = (str(foreign.uuid), foreign.name, foreign.memory_mib, foreign.vcpus)
    return DomainSpec(*named, "qemu", disks, interfaces, iso=EMPTY)
