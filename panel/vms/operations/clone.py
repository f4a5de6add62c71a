"""vm.clone: a new VM from the disks of another one, which may run meanwhile."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from pydantic import Field, field_validator

from nodeagent.protocol import guest, host, storage
from nodeagent.protocol import node as machine
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.placement import GIB, Need, choose
from panel.core.errors import MissingValue, NotFound, WrongState
from panel.core.wording import Text
from panel.images.models import Customization
from panel.network import services as network_services
from panel.network.models import Network
from panel.network.selectors import given_versions, network_named
from panel.storage.kinds import Can
from panel.storage.models import Volume
from panel.storage.services import new_volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.tasks.requirements import Requirement
from panel.vms import drift, services
from panel.vms.addresses import hold, refuse_unreached, taker_of, told_of
from panel.vms.audit import refuse_drift
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits
from panel.vms.machine import settings_of
from panel.vms.models import ON, Disk, Interface, Vm, VmStatus, Wanted
from panel.vms.operations.create import check_name, define_domain
from panel.vms.operations.deploying import (
    COPY_SECONDS,
    AccessParams,
    DeployContext,
    customize_guest,
    delete_seed,
    start_domain,
    stop_domain,
    wait_for_guest,
)
from panel.vms.operations.disks import LIMITS
from panel.vms.operations.removing import release_records, undefine_domain
from panel.vms.placing import candidates, gib_by_pool, hold_promises, promise_of, refuse_no_storage
from panel.vms.requirements import (
    FINISHED,
    NOT_ELSEWHERE,
    NOT_IN_RESCUE,
    NOT_MISSING,
    NOT_SUSPENDED,
    SHUT_OFF,
    requirement,
    undrifted,
    wrong_state,
)
from panel.vms.settings import OF_THE_HOST, Settings, check_settings, emulates, require_rights
from panel.vms.spec import with_values
from panel.vms.status import tell_pages
from panel.vms.usage import note_shape

DISK_FIELDS = ("target", "bus", "cache", "position", *LIMITS)
"""What a disk of a clone has of its source's."""

STOP_SECONDS = 120.0
"""Ending a copying, and having a guest thaw."""
HELD_STILL = "The guest's agent held its file systems still for the moment of the copy."
NOT_HELD_STILL = "No agent of the guest held its file systems still: the copy begins as after a power cut."


class CloneParams(AccessParams, Settings):
    """What the new VM is called, where it is, and how to get into it besides; what is not named is its source's."""

    name: str = Field(max_length=63, description="Host name: a-z, 0-9 and hyphens.")
    network: str | None = Field(default=None, max_length=64, description="Name of a network; none: the same.")

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return check_name(value)


class CloneContext(DeployContext[CloneParams]):
    """Two VMs: `source`, and `vm`, which is the new one as soon as it is reserved."""

    @property
    def source_id(self) -> int:
        """The VM that is copied: the one that was asked about."""
        found = self.output(reserve_clone).get("source")
        return int(found or self.task.object_id or 0)

    @property
    def source(self) -> Vm:
        """The VM that is copied; raises NotFound."""
        vm = Vm.objects.select_related("node__cluster", "pool", "image", "owner").filter(pk=self.source_id).first()
        if vm is None:
            raise NotFound(object="vm", id=self.source_id)
        return vm

    def find_object(self) -> Vm:
        """The source, as long as it is there."""
        return self.source

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The settings that are to be otherwise than the source's."""
        return self.params.asked()

    @property
    def wanted(self) -> Vm:
        """The new VM's settings, on the source's row; not saved."""
        return with_values(self.source, self.asked)

    @property
    def network(self) -> Network:
        """The network of the new VM's interface; raises NotFound."""
        if self.params.network:
            return network_named(self.source.cluster, self.params.network)
        first = self.source.interfaces.select_related("network").first()
        return first.network if first else network_named(self.source.cluster, None)

    @property
    def disks(self) -> QuerySet[Disk]:
        """The disks that the source has: not one that is yet to be plugged in, or whose removal has begun."""
        return self.source.disks.filter(attached=True).select_related("volume__pool")

    def copies(self) -> list[guest.DiskCopy]:
        """The same for the node."""
        pairs = self.pairs()
        return [guest.DiskCopy(new.ref, old.ref, old.format) for old, new in pairs]

    def pairs(self) -> list[tuple[Volume, Volume]]:
        """Each volume of the source with the new VM's."""
        old = {disk.target: disk.volume for disk in self.source.disks.select_related("volume__pool")}
        new = Disk.objects.filter(vm_id=self.task.object_id or 0).select_related("volume__pool")
        return [(old[disk.target], disk.volume) for disk in new if disk.target in old]

    def lock_ids(self, kind: str) -> list[int | None]:
        """Both VMs: nobody may start the one or touch the other meanwhile."""
        return [self.source_id, self.task.object_id] if kind == "vm" else [self.lock_id(kind)]

    @property
    def resources(self) -> Resources:
        """What the new VM takes of its owner's limits."""
        disk_gib = sum(disk.volume.size_gib for disk in self.disks)
        wanted = self.wanted
        return Resources(
            1, wanted.memory_mib, wanted.vcpus, disk_gib, len(given_versions(self.network, taker_of(self.source)))
        )

    def refuse_no_capacity(self) -> None:
        """Raise CapacityError when the source's node cannot take another such VM."""
        source = self.source
        node = Node.objects.select_related("cluster").get(pk=source.node_id)
        wanted = self.wanted
        found = candidates([node], source.pool, [self.network])
        choose(found, Need(promise_of(wanted), 0, max(wanted.vcpus, wanted.max_vcpus)))
        for pool, gib in gib_by_pool(disk.volume for disk in self.disks):
            # All of a disk may have been written to.
            refuse_no_storage(node, pool, gib, field="node", written_bytes=gib * GIB)


def reserve_clone(ctx: CloneContext) -> dict[str, Any]:
    """The new VM, its volumes and its address stand in the database, on the source's node."""
    source = ctx.source
    hold_promises(source.cluster_id)
    services.refuse_taken_name(source.cluster, ctx.params.name)
    ctx.refuse_no_capacity()
    require_within_limits(source.owner, ctx.resources)
    vm = Vm.objects.create(
        name=ctx.params.name,
        cluster=source.cluster,
        node=source.node,
        owner=source.owner,
        image=source.image,
        pool=source.pool,
        wanted=Wanted.RUNNING,
        status=VmStatus.SHUT_OFF,
        **{**settings_of(source), **ctx.asked},
    )
    for disk in ctx.disks:
        old = disk.volume
        volume = new_volume(old.pool, source.node, format=old.format, size_gib=old.size_gib)
        same = {name: getattr(disk, name) for name in DISK_FIELDS}
        Disk.objects.create(vm=vm, volume=volume, **same)
    network = ctx.network
    taken = network_services.allocate(network, taker=taker_of(source))
    interface = Interface.objects.create(vm=vm, network=network, mac=network_services.new_mac())
    hold(interface, taken)
    if vm.owner_id == source.owner_id and (first := source.interfaces.first()) is not None:
        interface.security_groups.set(first.security_groups.all())
    note_shape(vm.pk)
    ctx.set_object("vm", vm.pk, vm.name)
    transaction.on_commit(lambda: tell_pages([vm]))
    result = {"vm": vm.pk, "uuid": str(vm.uuid), "node": vm.node.name, **told_of(taken)}
    return {"source": source.pk, "source_name": source.name, "result": result}


def look_at_source(ctx: CloneContext) -> None:
    """The node can copy the source's disks as the source is now, and the new VM's are as large as they are."""
    if ctx.source.node_id != ctx.vm.node_id:
        # On a storage that both nodes share its disks would be there, and nobody would hold them still.
        text = "The VM has moved to another node since the clone was asked for. Ask for it again."
        raise WrongState(text, object="vm", id=ctx.source_id, state="on another node")
    refuse_drift(ctx.source, ctx.agent, drift.own_disk)
    if _state_of_source(ctx) in ON and ctx.agent.call(machine.NodeFacts()).copies_running is False:
        raise too_old(ctx.source)
    grow_along(ctx)


@transaction.atomic
def grow_along(ctx: CloneContext) -> None:
    """What made the source's disks larger while the task waited makes the new VM's larger; raises LimitExceeded."""
    grown = [(old, new) for old, new in ctx.pairs() if old.size_gib > new.size_gib]
    if grown:
        require_within_limits(ctx.vm.owner, Resources(disk_gib=sum(old.size_gib - new.size_gib for old, new in grown)))
        hold_promises(ctx.vm.cluster_id)
        for old, new in grown:
            refuse_no_storage(ctx.vm.node, new.pool, old.size_gib - new.size_gib, field="node")
            Volume.objects.filter(pk=new.pk).update(size_gib=old.size_gib)
        note_shape(ctx.vm.pk)


def copy_disks(ctx: CloneContext) -> None:
    """The new VM's volumes are copies of the source's: of one moment, if it runs."""
    uuid, copies = str(ctx.source.uuid), ctx.copies()
    if _state_of_source(ctx) in ON:
        copied = ctx.agent.call(guest.DisksCopy(uuid, copies), deadline=COPY_SECONDS)
        if copied.frozen is not None:
            ctx.log(HELD_STILL if copied.frozen else NOT_HELD_STILL)
        return
    # What an attempt before this one has of a moment that is over.
    ctx.agent.call(guest.DisksCopyStop(uuid, copies), deadline=STOP_SECONDS)
    for each in copies:
        ctx.agent.call(
            guest.VolumeClone(each.volume, each.source, each.format),
            deadline=COPY_SECONDS,
        )


def delete_copies(ctx: CloneContext) -> None:
    """None of the new VM's volumes is on the node, finished or not, and none is being made."""
    if ctx.find_vm() is not None:
        ctx.agent.call(guest.DisksCopyStop(str(ctx.source.uuid), ctx.copies()), deadline=STOP_SECONDS)
        for volume in ctx.volumes():
            ctx.agent.call(storage.VolumeDelete(volume.ref))


def _state_of_source(ctx: CloneContext) -> str:
    return ctx.agent.call(host.HostInfo(uuid=str(ctx.source.uuid))).state


def too_old(source: Vm) -> WrongState:
    """The refusal of a VM that runs where its disks can be copied only while it is off."""
    text = "The node's libvirt or QEMU is too old to copy the disks of a VM that runs. Shut the VM down first."
    return wrong_state(source, source.status, text)


COPIES_RUNNING = Requirement(
    "on a node that copies the disks of a VM that runs",
    lambda vm: too_old(vm) if vm.status in ON and vm.node.facts.get("copies_running") is False else None,
)
OF_AN_IMAGE = requirement(
    "of an image",
    lambda vm: vm.image is not None,
    "without an image",
    "The VM's image is not known any more, so nobody knows how to tell its clone who it is.",
)


def _no_live_copies(vm: Vm) -> WrongState | None:
    if vm.status not in ON:
        return None
    for disk in vm.attached_disks:
        if Can.COPY_LIVE not in disk.volume.can:
            name = disk.volume.pool.name
            text = Text(
                "Disks in the storage “{pool}” can be copied only while the VM is off. Shut it down first.",
                {"pool": name},
            )
            return wrong_state(vm, vm.status, text)
    return None


COPIED_LIVE = Requirement("on storages whose disks can be copied while it runs", _no_live_copies)


def how_copied(ctx: CloneContext) -> Text:
    """How the disks are copied, for a plan."""
    data = {"count": ctx.disks.count(), "vm": ctx.source.name}
    disks = Text("1 disk of “{vm}”" if data["count"] == 1 else "{count} disks of “{vm}”", data)
    goes_on = ctx.source.status in ON
    return Text("{disks}, as of one moment while it goes on" if goes_on else "{disks}, which is off", {"disks": disks})


class CloneVm(Operation[CloneParams]):
    """Make a new VM from another: its disks and size, with a name, address, MAC and identity of its own.

    The disks of one that runs are copied as of one moment, while it goes on; its guest's agent, if there is one, holds
    its file systems still for that moment. The new VM is on the same node and is left running and reachable. Passwords
    and keys that the source's disks know work in it too, besides those of the request and of the owner.
    """

    name = "vm.clone"
    label = "Clone"
    requires = (
        NOT_ELSEWHERE,
        FINISHED,
        NOT_MISSING,
        NOT_SUSPENDED,
        NOT_IN_RESCUE,
        undrifted(drift.own_disk),
        SHUT_OFF.where(lambda vm: vm.status not in ON),
        COPIES_RUNNING,
        COPIED_LIVE,
        OF_AN_IMAGE,
    )
    placed = True
    permission = "vms.create"
    params = CloneParams
    context = CloneContext
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(reserve_clone, "Reserve the name, the disks and an address", undo=release_records, inline=True),
        # No undo: what it writes goes with the records.
        Step(look_at_source, "Look at the VM"),
        Step(copy_disks, "Copy the disks", undo=delete_copies, weight=10, describe=how_copied),
        Step(customize_guest, "Prepare the guest's settings", undo=delete_seed, weight=2, ends_secrets=True),
        Step(define_domain, "Define the domain", undo=undefine_domain),
        Step(start_domain, "Start the VM", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing.
        Step(wait_for_guest, "Wait until the guest answers", weight=20),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        source = ctx.output(reserve_clone).get("source_name") or ctx.task.object_name
        return Text("Clone VM {vm} to {name}", {"vm": source, "name": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that must be off for it first, a taken name, and what its node or its owner has no room for."""
        source = ctx.source
        if source.image.customization == Customization.VIRT_CUSTOMIZE and not (
            ctx.params.password or ctx.params.ssh_keys
        ):
            raise MissingValue("This image needs a password or an ssh key.", field="password")
        require_rights(viewer, ctx.asked, source)
        check_settings(ctx.wanted, ctx.asked)
        if ctx.asked.get("cpu_mode") in OF_THE_HOST and source.node.accel != "kvm":
            raise emulates()
        services.refuse_taken_name(source.cluster, ctx.params.name)
        network_services.refuse_full(ctx.network, taker=taker_of(ctx.source))
        if source.image is not None:
            refuse_unreached(ctx.network, taker_of(source))
        ctx.refuse_no_capacity()
        refuse_over_limits(source.owner, ctx.resources)
