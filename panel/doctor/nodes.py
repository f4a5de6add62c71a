"""Whether a node has what the database says, and nothing else. Read from the node, compared here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from django.db.models import Prefetch

from nodeagent import storage as storages
from nodeagent.protocol import host, network, storage
from panel.cluster.client import Heed, NodeClient
from panel.cluster.models import Node
from panel.cluster.nodes import known_pools
from panel.core.errors import CommandFailed
from panel.core.wording import Text
from panel.doctor import kept, wires
from panel.doctor.findings import Finding, finding
from panel.doctor.shared import files_of_others
from panel.network.models import Network
from panel.network.node_part import lasting_part
from panel.storage.models import NodePool, Volume
from panel.storage.selectors import volumes_at
from panel.tasks.models import ENDED, Task
from panel.vms.models import AuxiliaryDisk, Interface, Purpose, Sighting, Vm, VmStatus
from panel.vms.security import GROUPS
from panel.vms.spec import takes_seed, uses_seed

CALL_SECONDS = 60.0
ACTIVE = (VmStatus.RUNNING, VmStatus.PAUSED)
UPLOAD = re.compile(r".+\.(?P<task>[0-9]+)\.upload\Z")
PARTIAL = ".part"


@dataclass(frozen=True)
class Reading:
    """What a node has: its domains by UUID, each pool's files by the pool's name, bridges and ports' filters."""

    domains: Mapping[str, host.HostState]
    nvram: Sequence[str]
    pools: Mapping[str, storage.PoolFiles]
    network: network.BridgeList
    unread: Mapping[str, str] = field(default_factory=dict)
    """Why a pool's files could not be looked at, by its name: nothing is said of them."""
    snapshots: Mapping[str, Sequence[str]] | None = None
    """libvirt's names of each domain's, by its UUID; None: nobody looked."""
    used: frozenset[str] = frozenset()
    """Places of what a domain has, running or described, and of what that builds upon."""
    refs: Mapping[str, storage.PoolRef] = field(default_factory=dict)
    """The pools, by their names."""


@dataclass
class Wanted:
    """What the database says that a node has. `busy` are file names and UUIDs that a task may be changing."""

    vms: dict[str, Vm] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the pool's name, each file ("volumes/NAME") with what it belongs to."""
    sizes: dict[str, dict[str, Volume]] = field(default_factory=dict)
    """By the pool's name, each volume by its own."""
    networks: list[tuple[Network, network.BridgeEnsure]] = field(default_factory=list)
    """Each with what the node is asked for of it."""
    busy: set[str] = field(default_factory=set)
    open_tasks: set[int] = field(default_factory=set)
    elsewhere: dict[str, Vm] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    """Places that belong to VMs of nodes that see the same files, or that ran here last."""
    last_here: set[str] = field(default_factory=set)
    """UUIDs of VMs of other nodes that ran here last."""


def read(node: Node, client: NodeClient, heed: Heed) -> Reading:
    """What the node has now; raises NodeError, and what `heed` does."""
    hosts = client.call(host.HostsRead(), deadline=CALL_SECONDS, heed=heed)
    rows = [row.pool for row in NodePool.objects.filter(node=node).order_by("pool").select_related("pool")]
    refs = list({ref.name: ref for pool in rows for ref in (pool.ref, pool.store)}.values())
    known = known_pools(node)
    pools, unread = {}, {}
    for ref in refs:
        try:
            pools[ref.name] = client.call(storage.PoolList(ref), deadline=CALL_SECONDS, pools=known, heed=heed)
        except CommandFailed as error:
            unread[ref.name] = str(error.data["text"])
    bridges = client.call(network.BridgesRead(), deadline=CALL_SECONDS, heed=heed)
    uses = client.call(storage.UsesRead(), deadline=CALL_SECONDS, heed=heed).uses
    used = frozenset(use.place for use in uses)
    domains = {each.uuid: each for each in hosts.hosts}
    return Reading(domains, hosts.nvram, pools, bridges, unread, hosts.snapshots, used, {ref.name: ref for ref in refs})


def wanted(node: Node, busy_vms: set[int], uuids: Iterable[str]) -> Wanted:
    """What the database says of the node, and of the domains `uuids` that were seen there; a few queries."""
    found = Wanted(open_tasks=set(Task.objects.exclude(status__in=ENDED).values_list("pk", flat=True)))
    found.others = files_of_others(node)
    for sighting in Sighting.objects.filter(node=node, accepted=False).select_related("vm__pool"):
        found.last_here.add(str(sighting.vm.uuid))
        found.others.add(storages.place(sighting.vm.seed_ref))
    for volume in Volume.objects.filter(disk__vm__uuid__in=found.last_here).select_related("pool"):
        found.others.add(volume.place)
    networks = Network.objects.filter(cluster=node.cluster_id).select_related("cluster").prefetch_related("subnets")
    found.networks = [(each, lasting_part(each, node)) for each in networks]
    auxiliary_disks = Prefetch(
        "auxiliary_disks", AuxiliaryDisk.objects.select_related("image", "vm__pool", "volume__pool")
    )
    interfaces = Interface.objects.select_related("network__cluster").prefetch_related(GROUPS, "port_forwards")
    ports = Prefetch("interfaces", interfaces.with_ips())
    for vm in (
        Vm.objects.filter(node=node)
        .select_related("pool", "image")
        .prefetch_related(auxiliary_disks, ports, "snapshots")
    ):
        found.vms[str(vm.uuid)] = vm
        if vm.pk in busy_vms:
            found.busy |= {str(vm.uuid), vm.seed_ref.name}
        for auxiliary_disk in vm.auxiliary_disks.all():
            if vm.pk in busy_vms or auxiliary_disk.purpose != Purpose.RESCUE:
                # What is to be deleted may be gone in part; records.py tells of it.
                found.busy |= {auxiliary_disk.seed_ref.name, auxiliary_disk.volume.name}
            if takes_seed(auxiliary_disk.image):
                found.files.setdefault(vm.pool.store.name, {})[f"seeds/{auxiliary_disk.seed_ref.name}"] = f"vm {vm.pk}"
        if uses_seed(vm):
            found.files.setdefault(vm.pool.store.name, {})[f"seeds/{vm.seed_ref.name}"] = f"vm {vm.pk}"
    for volume in volumes_at(node).select_related("pool", "disk", "auxiliary_disk"):
        disk = getattr(volume, "disk", None) or getattr(volume, "auxiliary_disk", None)
        found.files.setdefault(volume.pool.name, {})[f"volumes/{volume.name}"] = (
            f"vm {disk.vm_id}" if disk is not None else f"volume {volume.uuid}"
        )
        found.sizes.setdefault(volume.pool.name, {})[volume.name] = volume
        if disk is None or disk.vm_id in busy_vms:
            found.busy.add(volume.name)
    others = [uuid for uuid in uuids if uuid not in found.vms]
    for vm in Vm.objects.filter(uuid__in=others).select_related("node"):
        found.elsewhere[str(vm.uuid)] = vm
        if vm.pk in busy_vms:
            found.busy.add(str(vm.uuid))
    return found


def compare(node: str, said: Wanted, seen: Reading, readings: Mapping[str, Reading]) -> Iterator[Finding]:
    """Each difference between what is said of a node and what was seen there; `readings` are those of all nodes."""
    # By a guest of another node too: a storage may be shared.
    used = frozenset[str]().union(*(each.used for each in readings.values()))
    yield from _domains(node, said, seen, readings)
    yield from _nvram(node, said, seen)
    yield from kept.snapshots(node, said.vms, said.busy, seen.snapshots)
    for pool, listed in seen.pools.items():
        there = {f"{folder}/{name}" for folder, names in listed.files.items() for name in names}
        yield from _files(node, seen.refs[pool], said, there, used)
        yield from _sizes(node, said, seen.refs[pool], listed)
    for pool, text in seen.unread.items():
        about = f"storage {storages.of(seen.refs[pool]).where}"
        yield finding("storage_unread", about, Text(text), node, "node.check")
    yield from wires.bridges(node, said.networks, seen.network.bridges)
    yield from wires.filters(node, said.vms, seen.domains.keys(), said.busy, seen.network.guards)
    yield from wires.secured(node, said.vms, seen.domains.keys(), said.busy, seen.network.ports)


def runs_twice(readings: Mapping[str, Reading]) -> Iterator[Finding]:
    """The domains that are active on more than one node."""
    active: dict[str, list[str]] = {}
    for node, reading in readings.items():
        for uuid, domain in reading.domains.items():
            if domain.state in ACTIVE:
                active.setdefault(uuid, []).append(node)
    for uuid, nodes in active.items():
        if len(nodes) > 1:
            text = Text("It is active on these nodes: {nodes}.", {"nodes": ", ".join(sorted(nodes))})
            yield finding("runs_twice", f"domain {uuid}", text, mend="vm.settle")


def _domains(node: str, said: Wanted, seen: Reading, readings: Mapping[str, Reading]) -> Iterator[Finding]:
    for uuid, vm in said.vms.items():
        if uuid in said.busy or not vm.installed:
            continue
        about, domain = f"vm {vm.pk}", seen.domains.get(uuid)
        if domain is None:
            yield _missing(vm, node, readings)
            continue
        if domain.state in ACTIVE and not domain.persistent:
            text = Text("{vm} runs, but is not defined any more: it is gone when it stops.", {"vm": vm.name})
            yield finding("domain_undefined", about, text, node, "vm.repair")
        if domain.name != vm.name:
            text = Text("The domain of {vm} is called {name}.", {"vm": vm.name, "name": domain.name})
            yield finding("domain_name", about, text, node, "vm.repair")
        if domain.state != vm.status:
            data = {"vm": vm.name, "found": Text(domain.state), "known": Text(vm.status)}
            yield finding("domain_state", about, Text("{vm} is {found}, not {known}.", data), node)
        elif domain.state == VmStatus.SAVED:
            text = Text(
                "The memory of {vm} is saved: its next start goes on from there, and until then nothing of it changes.",
                {"vm": vm.name},
            )
            yield finding("memory_saved", about, text, node, "vm.start or vm.discard-saved")
    for uuid, domain in seen.domains.items():
        if uuid in said.vms or uuid in said.busy:
            continue
        if uuid in said.elsewhere:
            vm = said.elsewhere[uuid]
            data = {"vm": vm.name, "other_node": vm.node.name, "found": Text(domain.state)}
            text = Text("{vm} belongs to {other_node}; here it is {found}.", data)
            mend = "vm.settle" if domain.state in ACTIVE or uuid in said.last_here else ""
            yield finding("domain_elsewhere", f"vm {vm.pk}", text, node, mend)
        else:
            text = Text("No VM has the domain {domain}.", {"domain": domain.name})
            yield finding("domain_foreign", f"domain {uuid}", text, node, "vm.take-over")


def _missing(vm: Vm, node: str, readings: Mapping[str, Reading]) -> Finding:
    """That a VM has no domain on its node; where another node has one, nothing is to be made anew."""
    uuid = str(vm.uuid)
    having = [name for name, reading in sorted(readings.items()) if uuid in reading.domains]
    text = Text("{vm} has no domain.", {"vm": vm.name})
    if having:
        data = {"vm": vm.name, "other_node": having[0]}
        text = Text("{vm} has no domain, but {other_node} has one of it.", data)
    mend = "vm.settle" if having or vm.seen_elsewhere else "vm.repair"
    return finding("domain_missing", f"vm {vm.pk}", text, node, mend)


def _nvram(node: str, said: Wanted, seen: Reading) -> Iterator[Finding]:
    """It is kept as long as the VM, whatever firmware that has now."""
    for uuid in seen.nvram:
        if uuid not in said.vms and uuid not in said.busy and uuid not in seen.domains:
            yield finding("nvram_foreign", f"nvram {uuid}", Text("No VM here has this UUID."), node)


def _files(node: str, pool: storage.PoolRef, said: Wanted, there: set[str], used: frozenset[str]) -> Iterator[Finding]:
    expected = said.files.get(pool.name, {})
    for file, owner in sorted(expected.items()):
        if file not in there and PurePosixPath(file).name not in said.busy:
            yield finding("file_missing", owner, Text("{file} is not there.", {"file": _place(pool, file)}), node)
    for file in sorted(there - expected.keys()):
        folder, _, name = file.partition("/")
        if folder == "images" and not _is_unfinished(name):
            # A copy of an image serves the next VM.
            continue
        upload = UPLOAD.match(name)
        if upload and int(upload["task"]) in said.open_tasks:
            continue
        place = _place(pool, file)
        if place.removesuffix(PARTIAL) in said.others or place in used:
            continue
        if name.removesuffix(PARTIAL) not in said.busy:
            yield finding("file_foreign", f"file {place}", Text("It belongs to nothing."), node)


def _sizes(node: str, said: Wanted, pool: storage.PoolRef, seen: storage.PoolFiles) -> Iterator[Finding]:
    for name, volume in sorted(said.sizes.get(pool.name, {}).items()):
        size = seen.sizes.get(name)
        if size is None or name in said.busy:
            continue
        found = size.qcow2_bytes if volume.format == "qcow2" else size.file_bytes
        if found != volume.size_bytes:
            data = {"file": volume.place, "found": found, "known": volume.size_bytes}
            text = Text("{file} has {found} bytes, not {known}.", data)
            yield finding("volume_size", said.files[pool.name][f"volumes/{name}"], text, node, "vm.grow-disk")


def _is_unfinished(name: str) -> bool:
    return name.endswith(PARTIAL) or UPLOAD.match(name) is not None


def _place(pool: storage.PoolRef, file: str) -> str:
    """Where a file of a pool's listing is."""
    folder, _, name = file.partition("/")
    return storages.place(
        storage.VolumeRef(pool, name) if folder == "volumes" else storage.file_ref(pool, folder, name)
    )
