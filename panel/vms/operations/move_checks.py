"""What speaks against a move: what is known of the nodes, and what both of them say when asked.

docs/decisions/0010 and 0016 have the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeagent import storage as storages
from nodeagent.protocol import migration, storage
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.cluster.placement import GIB, Choice, Need, choose, lacks_storage
from panel.core.errors import CapacityError, NotFound, OperationFailed, WrongState
from panel.core.wording import Text, joined
from panel.storage.models import Pool, Volume
from panel.storage.sharing import not_shared, recorded_marks, see_the_same, untrue
from panel.tasks.requirements import Requirement
from panel.vms.models import ON, Disk, DiskCache, Vm
from panel.vms.placing import bound_to, candidates, gib_by_pool, networks_of, promise_of, storage_space
from panel.vms.snapshots import on_node

UNCACHED = (DiskCache.NONE, DiskCache.DIRECTSYNC)


def choose_target(vm: Vm, name: str | None) -> Choice:
    """The node that takes the VM (that one, if given), and why; raises CapacityError or NotFound."""
    nodes = Node.objects.filter(cluster=vm.cluster).select_related("cluster")
    if name:
        nodes = nodes.filter(name=name)
        if not nodes:
            raise NotFound(object="node", id=name, field="node")
    else:
        nodes = nodes.exclude(pk=vm.node_id)
    pools = pools_of(vm)
    marks = recorded_marks(pools)

    bound = bound_to(vm)
    going = [(storage_space(pool), gib * GIB) for pool, gib in gib_by_pool(volumes_of(vm)) if not pool.shared]

    def unfit(node: Node) -> Text | None:
        faults = (not_shared(pool, vm.node, node, marks) for pool in pools)
        lacking = (lacks_storage(spaces.get(node.pk), promised_bytes=size) for spaces, size in going)
        return _unfit(vm, node) or bound(node) or next(filter(None, (*faults, *lacking)), None)

    # The guest may have written little: whether its disks fit is asked of the node itself.
    return choose(candidates(nodes, vm.pool, networks_of(vm), unfit), Need(promise_of(vm), 0, vm.vcpus))


def _unfit(vm: Vm, node: Node) -> Text | None:
    """Why the VM cannot be moved to this node, by what is known of both."""
    own = vm.node
    if node.pk == own.pk:
        return Text("the VM is there already")
    if vm.status not in ON:
        return None
    if node.accel != own.accel:
        data = {"accel": node.accel or "?", "own": own.accel}
        return Text("its guests run under {accel}, the VM under {own}", data)
    # What is not known of one of them is no reason: the node is asked itself before anything moves.
    theirs, ours = node.facts.get("cpu_model"), own.facts.get("cpu_model")
    if own.accel == "kvm" and theirs and ours and theirs != ours:
        return Text("its CPU is {cpu}, the VM runs on {own}", {"cpu": theirs, "own": ours})
    for program in ("qemu", "libvirt"):
        theirs, ours = node.facts.get(f"{program}_version"), own.facts.get(f"{program}_version")
        if theirs and ours and _version(theirs) < _version(ours):
            data = {"program": program, "version": theirs, "source_node": own.name}
            return Text("its {program} {version} is older than that of “{source_node}”", data)
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def volumes_of(vm: Vm) -> list[Volume]:
    return [disk.volume for disk in vm.disks.select_related("volume__pool")]


def shared_disks(vm: Vm) -> list[Disk]:
    return [disk for disk in vm.attached_disks if disk.volume.pool.shared]


def pools_of(vm: Vm) -> list[Pool]:
    """The storages that the VM uses, the one of its seed first."""
    return list({pool.pk: pool for pool in (vm.pool, *(volume.pool for volume in volumes_of(vm)))}.values())


def cached(vm: Vm, targets: list[str]) -> WrongState | None:
    """The refusal for disks of a running VM whose last writes only its own node would know; None for no disks."""
    if not targets:
        return None
    return WrongState(
        Text(
            "Its node keeps writes to {disks} in its memory, where another node does not see them: set the "
            "cache mode of disks on a shared storage to “none”, and restart the VM.",
            {"disks": ", ".join(targets)},
        ),
        object="vm",
        id=vm.pk,
        state="cached",
    )


def _cached_as_set(vm: Vm) -> WrongState | None:
    if vm.status not in ON:
        return None
    return cached(vm, [disk.target for disk in shared_disks(vm) if disk.cache not in UNCACHED])


UNCACHED_WHILE_ON = Requirement("its disks uncached while it runs", _cached_as_set)


def _snapshots(vm: Vm, subject: migration.Subject) -> str:
    return ", ".join(on_node(vm, subject.snapshot_names)) or str(subject.snapshots)


def examine(vm: Vm, source: Agent, target: Agent) -> dict[str, Any]:
    """Ask both nodes; answers what the move must know: the guest's state, and what is to be copied.

    Raises WrongState for what is against it on the source, CapacityError for what the target lacks.
    """
    subject = source.call(migration.MigrationDescribe(uuid=str(vm.uuid)))
    if subject.snapshots:
        raise WrongState(
            Text(
                "The VM has snapshots, which cannot be moved: {snapshots}. Delete them first, those that were "
                "taken by hand on the node, or once they are adopted.",
                {"snapshots": _snapshots(vm, subject)},
            ),
            object="vm",
            id=vm.pk,
            state="with snapshots",
        )
    volumes = volumes_of(vm)
    found = {each.pk: source.call(storage.VolumeInfo(each.ref, each.format)) for each in volumes}
    # A disk that the domain does not have is yet to be made, by a task that waits, or was on its way out.
    attached = set(vm.disks.filter(attached=True).values_list("volume", flat=True))
    if missing := [each.place for each in volumes if not found[each.pk].exists and each.pk in attached]:
        raise OperationFailed(
            Text(
                "The volume {volume} is missing on “{source_node}”.",
                {"volume": missing[0], "source_node": source.node.name},
            ),
            step="check_nodes",
        )
    # Read once: what is declared may change while the nodes are asked.
    pools = pools_of(vm)
    shared = {pool.pk for pool in pools if pool.shared}
    if subject.state in ON:
        disks = vm.disks.filter(volume__pool__in=shared, target__in=subject.cached)
        if refusal := cached(vm, [disk.target for disk in disks]):
            raise refusal
    reasons: list[str | Text] = [
        untrue(pool, source.node, target.node) for pool in pools if see_the_same(source, target, pool) != pool.shared
    ]
    local = [found[each.pk] for each in volumes if each.pool_id not in shared and found[each.pk].exists]
    seed_is_shared = vm.pool_id in shared and not vm.pool.store_apart
    request = migration.MigrationCheck(
        subject=subject,
        pool=vm.pool.ref,
        room_bytes=sum(state.allocated_bytes for state in local),
        memory_mib=vm.memory_mib if subject.state in ON else 0,
        bridges=sorted({each.network.bridge for each in vm.interfaces.select_related("network")}),
        files=[each for each in subject.files if each != storages.place(vm.seed_ref) or seed_is_shared],
    )
    reasons += target.call(request).reasons
    if reasons:
        name, told = target.node.name, joined(reasons)
        raise CapacityError(
            Text("“{target_node}” cannot take this VM: {reasons}.", {"target_node": name, "reasons": told}),
            field="node",
            candidates={name: told.english},
        )
    return {
        "state": subject.state,
        "sizes": {
            str(each.pk): found[each.pk].virtual_bytes
            for each in volumes
            if each.pool_id not in shared and found[each.pk].exists
        },
        "seed": not seed_is_shared,
        "nvram_bytes": subject.nvram_bytes,
    }


def copied_bytes(sizes: Mapping[str, int], volume: Volume) -> int | None:
    """The size of a volume that goes along, of those that examine() answered; None for one that does not.

    Tasks that an older release began name the volumes by their places.
    """
    return sizes.get(str(volume.pk), sizes.get(volume.place))
