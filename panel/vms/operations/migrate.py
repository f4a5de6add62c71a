"""vm.migrate: a VM goes to another node, running or off, with those of its disks that are not shared by both.

At every moment the VM belongs to the node that `Vm.node` names. That changes in one transaction, once
the domain is off on the source and defined on the target (move_guest); before it everything on the target
is a leftover, after it everything on the source. Steps and undos look at both nodes first, so whoever takes
the task over knows which it is.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from pydantic import Field

from nodeagent.protocol import host, identity, migration, network, storage
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.cluster.placement import Choice, explain
from panel.core.errors import Fenced, NodeError, NodeUnreachable, OperationFailed, WrongState
from panel.core.wording import Text
from panel.storage.models import Volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.models import Task
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.models import ON, Cause, Migration, Vm, VmStatus
from panel.vms.operations.move_checks import UNCACHED_WHILE_ON, choose_target, copied_bytes, examine, volumes_of
from panel.vms.operations.removing import refuse_used
from panel.vms.placing import hold_promises
from panel.vms.requirements import (
    NO_SNAPSHOTS,
    NODE_READY,
    NOT_ELSEWHERE,
    NOT_IN_RESCUE,
    NOT_INSTALLING,
    NOT_MISSING,
    requirement,
    undrifted,
)
from panel.vms.spec import domain_spec, uses_seed
from panel.vms.status import Observation, StatusLog, tell_pages

MOVED = "Moved {size_mib} MiB in {seconds:.1f} s."
MOVED_LIVE = "Moved {size_mib} MiB in {seconds:.1f} s; the guest stood still for {downtime_ms} ms."

MOVE_SECONDS = 24 * 3600.0
STOP_SECONDS = 120.0


class MigrateVmParams(Params):
    """Where to, and how fast."""

    node: str | None = Field(
        default=None, max_length=64, description="Name of a node; none: the one with the most free memory."
    )
    bandwidth_mib: int = Field(default=0, ge=0, le=1_000_000, description="At most so many MiB/s; 0: no limit.")


class MigrateContext(VmContext[MigrateVmParams]):
    """The two nodes, and what is where."""

    @property
    def source(self) -> Node:
        """The node that the VM belonged to when it was asked for."""
        return self._node("source") or self.vm.node

    @property
    def target(self) -> Node:
        """The node that it goes to."""
        node = self._node("target")
        assert node is not None
        return node

    def _node(self, which: str) -> Node | None:
        pk = self.output(reserve_target).get(which)
        return Node.objects.select_related("cluster").get(pk=pk) if pk else None

    def at(self, node: Node) -> Agent:
        """The agent of one of them."""
        return Agent(node, self)

    @cached_property
    def uuid(self) -> str:
        """The VM's UUID."""
        return str(self.vm.uuid)

    @property
    def switched(self) -> bool:
        """Whether the VM belongs to the target by now."""
        return Vm.objects.filter(pk=self.vm.pk, node=self.target).exists()

    @property
    def ran(self) -> bool:
        """Whether the guest ran when the move began."""
        return self.output(check_nodes).get("state") == VmStatus.RUNNING

    @property
    def copied(self) -> list[Volume]:
        """The volumes that go along; of the others both nodes see the same files, which are nobody's leftovers.

        As the nodes were asked when the move began: a storage that is declared otherwise meanwhile changes nothing.
        """
        sizes = self.output(check_nodes).get("sizes", {})
        return [volume for volume in volumes_of(self.vm) if copied_bytes(sizes, volume) is not None]

    @property
    def copies_seed(self) -> bool:
        """Whether the seed goes along too."""
        known = self.output(check_nodes)
        return bool(known.get("seed", bool(known)))

    def lock_ids(self, kind: str) -> list[int | None]:
        """Both nodes; for a plan the target is the node that would be chosen now."""
        if kind != "node":
            return [self.lock_id(kind)]
        target = self._node("target") or self.choose_target().node
        return [self.source.pk, target.pk]

    def choose_target(self) -> Choice:
        """The node that takes the VM, and why; raises CapacityError or NotFound."""
        return choose_target(self.vm, self.params.node)

    def look(self) -> tuple[host.HostState, host.HostState]:
        """The domain on the source, where no move of it is under way any more, and on the target.

        Raises OperationFailed when it runs on both, which is for a person to settle.
        """
        here = self.at(self.source).call(migration.MigrationStop(uuid=self.uuid), deadline=STOP_SECONDS)
        there = self.at(self.target).call(host.HostInfo(uuid=self.uuid))
        if here.state in ON and there.state == VmStatus.RUNNING:
            raise OperationFailed(
                Text(
                    "The VM runs on “{source_node}” and on “{target_node}”.",
                    {"source_node": self.source.name, "target_node": self.target.name},
                ),
                step=self.step_name,
            )
        return here, there


def reserve_target(ctx: MigrateContext) -> dict[str, Any]:
    """The target's resources are promised to the VM."""
    hold_promises(ctx.vm.cluster_id)
    choice, vm = ctx.choose_target(), ctx.vm
    moving = {"source": vm.node, "target": choice.node, "task_id": None}
    Migration.objects.update_or_create(vm=vm, defaults={**moving, "started_at": timezone.now(), "ended_at": None})
    result = {"vm": vm.pk, "source": vm.node.name, "target": choice.node.name}
    return {"source": vm.node_id, "target": choice.node.pk, "placement": choice.told, "result": result}


def release_target(ctx: MigrateContext) -> None:
    """Nothing is promised to the VM but on its own node."""
    Migration.objects.filter(vm=ctx.task.object_id, ended_at=None).update(ended_at=timezone.now())


def check_nodes(ctx: MigrateContext) -> dict[str, Any]:
    """Both nodes were asked, and the target can take the VM; what the guest does now is known."""
    if ctx.vm.node_id != ctx.source.pk:
        raise WrongState(object="vm", id=ctx.vm.pk, state="not on the node any more that it was to be moved from")
    ctx.log(Text("{placement}.", {"placement": explain(ctx.output(reserve_target)["placement"])}))
    Migration.objects.filter(vm=ctx.vm, ended_at=None).update(task_id=ctx.task.pk)
    found = examine(ctx.vm, ctx.at(ctx.source), ctx.at(ctx.target))
    # One that runs takes its description along; one that is off is described anew.
    counts = drift.any_disk if found["state"] in ON else drift.every
    refuse_drift(ctx.vm, ctx.at(ctx.source), counts)
    # Those that are copied are deleted there.
    refuse_used(
        ctx,
        [volume for volume in volumes_of(ctx.vm) if copied_bytes(found["sizes"], volume) is not None],
        ctx.at(ctx.source),
    )
    return found


def open_tunnel(ctx: MigrateContext) -> dict[str, Any]:
    """The source can sign in at the target, for this move alone."""
    source, target, ticket = ctx.at(ctx.source), ctx.at(ctx.target), ctx.task.pk
    offer = source.call(migration.MigrationOffer(ticket=ticket))
    tunnel = target.call(migration.MigrationAccept(ticket=ticket, public_key=offer.public_key))
    return {"libvirt_socket": tunnel.libvirt_socket}


def close_tunnel(ctx: MigrateContext) -> None:
    """Neither node has anything for this move: no key, no socket."""
    for node in (ctx.source, ctx.target):
        ctx.at(node).call(migration.MigrationClose(ticket=ctx.task.pk))


def copy_seed(ctx: MigrateContext) -> None:
    """The target has the VM's seed."""
    if uses_seed(ctx.vm) and ctx.copies_seed:
        seed = ctx.vm.seed_ref
        state = ctx.at(ctx.source).call(storage.VolumeInfo(seed, "raw"))
        if state.exists:
            _end_receiving(ctx, ctx.target)
            ctx.at(ctx.target).call(identity.SeedDelete(seed))
            _send(ctx, seed, "raw", state.virtual_bytes)


def delete_leftovers(ctx: MigrateContext) -> None:
    """The node that the VM does not belong to has nothing of it."""
    if ctx.switched:
        clear_source(ctx)
    else:
        _clear(ctx, ctx.target)
        _clear_seed(ctx, ctx.target)


def _clear_seed(ctx: MigrateContext, node: Node) -> None:
    if ctx.copies_seed:
        ctx.at(node).call(identity.SeedDelete(ctx.vm.seed_ref))


def move_guest(ctx: MigrateContext) -> dict[str, Any]:
    """The VM is on the target and belongs to it; on the source it is off."""
    here, there = ctx.look()
    moved: migration.Moved | None = None
    if not _arrived(here, there):
        _wake(ctx, here)
        # What an attempt before this one left; volumes must be empty.
        _clear(ctx, ctx.target)
        try:
            moved = _move_live(ctx) if here.state in ON else _move_stopped(ctx)
        except NodeUnreachable:
            raise
        except NodeError as error:
            here, there = ctx.look()
            if not _arrived(here, there):
                raise
            ctx.log(Text("{error} But the VM has arrived.", {"error": error.text}), "warning")
        else:
            here, there = ctx.look()
    if not _arrived(here, there):
        raise OperationFailed("The guest went off while it was moved.", step=ctx.step_name)
    _switch(ctx, there)
    if moved is None:
        return {}
    told = {"size_mib": moved.moved_bytes >> 20, "seconds": moved.seconds, "downtime_ms": moved.downtime_ms}
    ctx.log(Text(MOVED_LIVE if moved.downtime_ms else MOVED, told))
    numbers = {"seconds": round(moved.seconds, 2), "downtime_ms": moved.downtime_ms, "bytes": moved.moved_bytes}
    return {"result": numbers}


def bring_back(ctx: MigrateContext) -> None:
    """The VM is where it belongs and the other node has nothing of it that runs.

    A VM that had arrived before the task turned back stays on the target: what its guest did since is only there.
    """
    if ctx.switched:
        return
    here, there = ctx.look()
    if _arrived(here, there):
        ctx.log(
            Text("The VM had arrived on “{target_node}” already and stays there.", {"target_node": ctx.target.name}),
            "warning",
        )
        _switch(ctx, there)
        return
    _wake(ctx, here)
    _clear(ctx, ctx.target)


def clear_source(ctx: MigrateContext) -> None:
    """The source has nothing of the VM; the target was seen to have it."""
    if not ctx.switched or not ctx.at(ctx.target).call(host.HostInfo(uuid=ctx.uuid)).persistent:
        raise OperationFailed(
            Text("The VM is not on “{target_node}”.", {"target_node": ctx.target.name}), step=ctx.step_name
        )
    source = ctx.at(ctx.source)
    # A domain that somebody started there again is refused here, before its volumes are touched.
    source.call(host.HostDelete(uuid=ctx.uuid))
    _delete_volumes(ctx, source)
    _clear_seed(ctx, ctx.source)


def end_migration(ctx: MigrateContext) -> None:
    """The tunnel is closed and the move is over."""
    close_tunnel(ctx)
    release_target(ctx)


def _arrived(here: host.HostState, there: host.HostState) -> bool:
    """Whether the VM is on the target: libvirt defines it there for good when it is whole, and it is off here."""
    return there.exists and there.persistent and here.state not in ON


def _wake(ctx: MigrateContext, here: host.HostState) -> None:
    """A guest that ran goes on, should a move that broke off have left it paused; it runs nowhere else."""
    if ctx.ran and here.state == VmStatus.PAUSED:
        ctx.at(ctx.source).call(host.HostStart(uuid=ctx.uuid))


def _clear(ctx: MigrateContext, node: Node) -> None:
    """The node has no domain and no volumes of its own of the VM; only for one that the VM does not belong to."""
    agent = ctx.at(node)
    _end_receiving(ctx, node)
    agent.call(host.HostStop(uuid=ctx.uuid))
    agent.call(host.HostDelete(uuid=ctx.uuid))
    _delete_volumes(ctx, agent)


def _end_receiving(ctx: MigrateContext, node: Node) -> None:
    """Nobody receives there what an attempt before this one did not send whole: it could not be deleted."""
    ctx.at(node).call(migration.VolumeClose(ticket=ctx.task.pk, volume=ctx.vm.seed_ref, format="raw"))


def _delete_volumes(ctx: MigrateContext, agent: Agent) -> None:
    for volume in ctx.copied:
        agent.call(storage.VolumeDelete(volume.ref))


def _target(ctx: MigrateContext) -> migration.Target:
    node = ctx.target
    return migration.Target(
        address=node.address,
        port=node.ssh_port,
        user=node.ssh_user,
        host_key=node.host_key,
        libvirt_socket=str(ctx.output(open_tunnel)["libvirt_socket"]),
    )


def _make_volumes(ctx: MigrateContext) -> None:
    for volume in ctx.copied:
        size = copied_bytes(ctx.output(check_nodes)["sizes"], volume) or 0
        ctx.at(ctx.target).call(storage.VolumeCreate(volume.ref, size_bytes=size, format=volume.format))


def _filter_ports(ctx: MigrateContext) -> None:
    """The target filters the VM's ports before its guest runs there; no address is routed there yet.

    Ports of the target that lead to it are taken: one that a program there listens on ends the move while it can be.
    """
    interfaces = domain_spec(ctx.vm).interfaces
    _have_ports(ctx, [each if each.forwards else replace(each, bridge="") for each in interfaces])


def _route_addresses(ctx: MigrateContext) -> None:
    """Addresses that nodes route one by one are the target's at once, before anybody looks whether all is well."""
    if any(each.network.of_kind.alone_in_prefix for each in ctx.vm.interfaces.select_related("network")):
        _have_ports(ctx, domain_spec(ctx.vm).interfaces)


def _have_ports(ctx: MigrateContext, interfaces: list[host.InterfaceSpec]) -> None:
    ctx.at(ctx.target).call(network.FiltersEnsure(guards=[network.VmFilters(ctx.uuid, interfaces)]))


def _move_live(ctx: MigrateContext) -> migration.Moved:
    _make_volumes(ctx)
    _filter_ports(ctx)
    attached, copied = ctx.vm.disks.filter(attached=True), ctx.copied
    request = migration.MigrationRun(
        ticket=ctx.task.pk,
        uuid=ctx.uuid,
        target=_target(ctx),
        disks=[disk.target for disk in attached.filter(volume__in=copied)],
        shared=[disk.target for disk in attached.exclude(volume__in=copied)],
        resume=ctx.ran,
        bandwidth_mib=ctx.params.bandwidth_mib,
    )
    moved = ctx.at(ctx.source).call(request, deadline=MOVE_SECONDS)
    _route_addresses(ctx)
    return moved


def _move_stopped(ctx: MigrateContext) -> migration.Moved:
    began, moved = timezone.now(), 0
    for volume in ctx.copied:
        size = copied_bytes(ctx.output(check_nodes)["sizes"], volume) or 0
        moved += _send(ctx, volume.ref, volume.format, size).allocated_bytes
    moved += _send_nvram(ctx)
    _define(ctx)
    return migration.Moved((timezone.now() - began).total_seconds(), 0, moved)


def _define(ctx: MigrateContext) -> host.HostState:
    """The target has the VM's domain, with the filters of its ports: as the rows describe it, or as it came along."""
    vm = ctx.vm
    vm.node = ctx.target
    spec = domain_spec(vm)
    vm.node = ctx.source
    target = ctx.at(ctx.target)
    target.call(host.HostCreate(spec=spec, before=spec))
    return target.call(host.HostAutostart(uuid=spec.uuid, enabled=spec.autostart))


def _send(ctx: MigrateContext, volume: storage.VolumeRef, kind: str, size: int) -> storage.VolumeState:
    """The target has a copy of the source's volume or seed; it had none before."""
    source, target, ticket = ctx.at(ctx.source), ctx.at(ctx.target), ctx.task.pk
    target.call(storage.VolumeCreate(volume, size_bytes=size, format=kind))
    target.call(migration.VolumeOpen(ticket=ticket, volume=volume, format=kind))
    send = migration.VolumeSend(ticket, volume, kind, _target(ctx), ctx.params.bandwidth_mib)
    source.call(send, deadline=MOVE_SECONDS)
    return target.call(migration.VolumeClose(ticket=ticket, volume=volume, format=kind))


def _send_nvram(ctx: MigrateContext) -> int:
    """The target has what the VM's UEFI remembers; answers its bytes. Of a guest that runs it goes with the memory."""
    source, target, ticket = ctx.at(ctx.source), ctx.at(ctx.target), ctx.task.pk
    size = int(ctx.output(check_nodes).get("nvram_bytes", 0))
    if size:
        target.call(migration.NvramOpen(ticket=ticket, uuid=ctx.uuid, size_bytes=size))
        source.call(migration.NvramSend(ticket=ticket, uuid=ctx.uuid, target=_target(ctx)))
        target.call(migration.NvramClose(ticket=ticket, uuid=ctx.uuid))
    return size


def _switch(ctx: MigrateContext, there: host.HostState) -> None:
    """The VM and its volumes belong to the target, and its guest goes on there if it ran."""
    target, sent_at = ctx.target, timezone.now()
    # Of a domain that came running, libvirt knows the description alone: not what filters its ports.
    _define(ctx)
    if ctx.ran and there.state == VmStatus.PAUSED:
        there = ctx.at(target).call(host.HostStart(uuid=ctx.uuid))
    with transaction.atomic():
        if not Task.objects.select_for_update().filter(pk=ctx.task.pk, fence=ctx.task.fence).exists():
            raise Fenced(task=ctx.task.pk, node=target.name)
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        if vm.node_id == target.pk:
            return
        vm.node = target
        # The numbers of one node's messages say nothing beside another's.
        vm.observed_epoch = vm.observed_sequence = 0
        vm.save(update_fields=["node", "observed_epoch", "observed_sequence"])
        # A system beside the VM's own is yet to be made, by a task that waits.
        Volume.objects.filter(Q(disk__vm=vm) | Q(auxiliary_disk__vm=vm)).exclude(node=None).update(node=target)
        log = StatusLog()
        seen = Observation(there.state, sent_at, Cause.TASK, target, task_id=ctx.task.pk, detail="migrated")
        log.record(vm, replace(seen, clock=there.clock, boot=there.boot))
        log.write()
        transaction.on_commit(lambda: tell_pages([vm]))


NOT_ON_ITS_WAY = requirement(
    "not on its way", lambda vm: not Migration.objects.filter(vm=vm, ended_at=None).exists(), "on its way already"
)


def held_for(ctx: MigrateContext) -> Text:
    """What is reserved for the VM, for a plan."""
    data = {"memory_mib": ctx.vm.memory_mib, "target_node": ctx.choose_target().node.name}
    return Text("{memory_mib} MiB of memory on “{target_node}”", data)


def what_moves(ctx: MigrateContext) -> Text:
    """What goes from node to node, for a plan."""
    data = {"count": sum(not volume.pool.shared for volume in volumes_of(ctx.vm)), "memory_mib": ctx.vm.memory_mib}
    if ctx.vm.status not in ON:
        return Text("Disks: {count}", data)
    return Text("Disks: {count}, memory: {memory_mib} MiB, live", data)


class MigrateVm(Operation[MigrateVmParams]):
    """Move a VM to another node with its local disks: running, with the guest standing still for a moment, or off.

    Disks on a storage that the nodes share stay where they are.

    Cancelled or failed, it stays where it is and nothing is left on the other node.
    """

    name = "vm.migrate"
    label = "Migrate"
    requires = (
        NOT_ELSEWHERE,
        NOT_IN_RESCUE,
        NO_SNAPSHOTS,
        NOT_MISSING,
        NOT_ON_ITS_WAY.when_asked,
        NOT_INSTALLING,
        NODE_READY.when_asked,
        UNCACHED_WHILE_ON,
        undrifted(drift.any_disk).where(lambda vm: vm.status in ON),
        undrifted(drift.every).where(lambda vm: vm.status not in ON),
    )
    permission = "cluster.manage"
    asks = True
    params = MigrateVmParams
    context = MigrateContext
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(
            reserve_target,
            "Reserve memory and free space",
            undo=release_target,
            inline=True,
            describe=held_for,
        ),
        # No undo: it only looks.
        Step(check_nodes, "Ask both nodes"),
        Step(open_tunnel, "Open the migration tunnel between the nodes", undo=close_tunnel, formerly=("open_way",)),
        Step(copy_seed, "Copy the seed", undo=delete_leftovers),
        Step(
            move_guest,
            "Move the guest and its disks",
            undo=bring_back,
            weight=20,
            commits=True,
            describe=what_moves,
        ),
        # From here on it goes forward only: the VM is on the target.
        Step(clear_source, "Remove it from the old node"),
        Step(end_migration, "Close the migration tunnel between the nodes"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        names = {"vm": ctx.task.object_name}
        target = ctx.outputs.get("reserve_target", {}).get("result", {}).get("target", "")
        if not target:
            return Text("Migrate VM {vm}", names)
        return Text("Migrate VM {vm} to {target_node}", {**names, "target_node": target})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that is not surely on its node, or whose installer runs, and what no node can take."""
        ctx.choose_target()
