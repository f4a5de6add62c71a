"""vm.add-disk, vm.grow-disk, vm.remove-disk, vm.change-disk."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import Field

from nodeagent.protocol import devices, storage
from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, MissingValue, NotFound, WrongState
from panel.core.wording import Text
from panel.storage.kinds import Can
from panel.storage.models import Pool, Volume
from panel.storage.selectors import pool_named
from panel.storage.services import new_volume
from panel.tasks.operation import Params, Step
from panel.tasks.requirements import demand
from panel.vms import drift
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.devices import (
    DeviceOperation,
    describe_disk,
    disk_of,
    free_target,
    make_live,
    promise_targets,
    refuse_no_slot,
    told,
    unplug,
)
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits
from panel.vms.models import ON, Disk, DiskBus, DiskCache, Vm
from panel.vms.operations.removing import refuse_used
from panel.vms.placing import hold_promises, refuse_no_storage
from panel.vms.requirements import NO_SNAPSHOTS, undrifted
from panel.vms.spec import disk_spec, with_values
from panel.vms.usage import note_size

LIMITS = ("read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")
CREATE_SECONDS = 600.0
LARGEST_LIMIT = 10**15

GROWN = "{disk} to {size_gib} GiB"


class AddDiskParams(Params):
    """A new disk."""

    size_gib: int = Field(ge=1, le=64 * 1024)
    bus: DiskBus = Field(default=DiskBus.VIRTIO, description="On SATA the guest gets it at its next start.")
    cache: DiskCache = DiskCache.NONE
    pool: str | None = Field(default=None, max_length=64, description="Name of a pool; none: the VM's.")


class AddDiskContext(VmContext[AddDiskParams]):
    """The VM and the pool that the disk shall be in."""

    @property
    def pool(self) -> Pool:
        """The pool that was named, or the VM's; raises NotFound."""
        name = self.params.pool
        return pool_named(self.vm.cluster, name) if name else self.vm.pool

    def lock_id(self, kind: str) -> int | None:
        """The disk's pool is held, not the VM's."""
        return self.pool.pk if kind == "pool" else super().lock_id(kind)

    def find_disk(self) -> Disk | None:
        """The disk that was reserved, None when it is gone again."""
        found = Disk.objects.select_related("volume__pool").filter(pk=self.output(reserve_disk).get("disk", 0))
        return found.first()

    @property
    def disk(self) -> Disk:
        """The same; raises NotFound when it is gone, as its VM is."""
        if (disk := self.find_disk()) is None:
            raise NotFound(object="vm", id=self.task.object_id)
        return disk


def reserve_disk(ctx: AddDiskContext) -> dict[str, Any]:
    """The disk and its volume stand in the database; the domain does not have it yet."""
    asked, vm = ctx.params, ctx.vm
    hold_promises(vm.cluster_id)
    refuse_no_storage(vm.node, ctx.pool, asked.size_gib, field="size_gib")
    require_within_limits(vm.owner, Resources(disk_gib=asked.size_gib))
    # One at a time: of two who ask at once, the second sees the name and the slot that the first has taken.
    Vm.objects.select_for_update().get(pk=vm.pk)
    _refuse_no_slot(vm, asked.bus)
    volume = new_volume(ctx.pool, vm.node, format=ctx.pool.volume_format, size_gib=asked.size_gib)
    last = vm.disks.order_by("position").last()
    disk = Disk.objects.create(
        vm=vm,
        volume=volume,
        target=free_target(vm, asked.bus),
        bus=asked.bus,
        cache=asked.cache,
        position=last.position + 1 if last else 0,
        attached=False,
    )
    note_size(vm.pk)
    return {"disk": disk.pk, "result": {"disk": disk.target}}


def release_disk(ctx: AddDiskContext) -> None:
    """Nothing of the disk stands in the database."""
    if (disk := ctx.find_disk()) is not None:
        _forget(disk)


def create_volume(ctx: AddDiskContext) -> None:
    """The disk's empty volume is on the node."""
    volume = ctx.disk.volume
    ctx.agent.call(
        storage.VolumeCreate(volume.ref, size_bytes=volume.size_bytes, format=volume.format),
        deadline=CREATE_SECONDS,
    )


def delete_new_volume(ctx: AddDiskContext) -> None:
    """The new disk's volume is not on the node."""
    if (disk := ctx.find_disk()) is not None:
        _delete_volume(ctx, disk)


def attach_disk(ctx: AddDiskContext) -> dict[str, Any]:
    """The domain has the disk, the running guest too where its bus allows."""
    disk = ctx.disk
    Disk.objects.filter(pk=disk.pk).update(attached=True)
    describe_disk(ctx, disk_spec(disk), None)
    state = ctx.agent.call(devices.DiskAttach(uuid=str(ctx.vm.uuid), disk=disk_spec(disk)))
    return told(state, disk=disk.target)


def detach_new_disk(ctx: AddDiskContext) -> None:
    """The domain does not have the new disk."""
    if (disk := ctx.find_disk()) is not None:
        _detach(ctx, disk)


class AddDisk(DeviceOperation):
    """Add an empty disk to the VM, while it runs too."""

    name = "vm.add-disk"
    label = "Add disk"
    requires = (*DeviceOperation.requires, NO_SNAPSHOTS)
    params = AddDiskParams
    context = AddDiskContext
    steps = (
        Step(
            reserve_disk,
            "Reserve the disk",
            undo=release_disk,
            inline=True,
            describe=lambda ctx: Text(
                "{size_gib} GiB in “{pool}”", {"size_gib": ctx.params.size_gib, "pool": ctx.pool.name}
            ),
        ),
        Step(create_volume, "Make the disk", undo=delete_new_volume, weight=3),
        Step(
            attach_disk,
            "Attach the disk",
            undo=detach_new_disk,
            describe=lambda ctx: Text("as {disk}", {"disk": free_target(ctx.vm, ctx.params.bus)}),
        ),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """A pool without room, a bus without a free place, and a running VM without a free slot."""
        refuse_no_storage(ctx.vm.node, ctx.pool, ctx.params.size_gib, field="size_gib")
        refuse_over_limits(ctx.vm.owner, Resources(disk_gib=ctx.params.size_gib))
        free_target(ctx.vm, ctx.params.bus)
        _refuse_no_slot(ctx.vm, ctx.params.bus)


class GrowDiskParams(Params):
    """Which disk, and how large."""

    disk: str = Field(max_length=8, description="The guest's name for it, as vda.")
    size_gib: int = Field(ge=1, le=64 * 1024, description="The whole size that it shall have.")


def reserve_growth(ctx: VmContext[GrowDiskParams]) -> None:
    """Owner and storage have room for it, and from now on the disk counts as what it will be."""
    hold_promises(ctx.vm.cluster_id)
    disk = disk_of(ctx.vm, ctx.params.disk)
    more_gib = refuse_no_growth(ctx, disk.volume)
    require_within_limits(ctx.vm.owner, Resources(disk_gib=more_gib))
    ctx.reserve("disk", disk.pk, size_gib=ctx.params.size_gib)


def refuse_no_growth(ctx: VmContext[GrowDiskParams], volume: Volume) -> int:
    """Raise CapacityError where the storage cannot take the volume as it shall be; answers how many GiB more it is."""
    more_gib = ctx.params.size_gib - volume.size_gib
    refuse_no_storage(ctx.vm.node, volume.pool, more_gib, field="size_gib", but=volume)
    return more_gib


def grow_volume(ctx: VmContext[GrowDiskParams]) -> None:
    """The volume is as large as was asked for, and its record says so; a running guest sees it.

    One step: whoever fails or is cancelled between the two would leave a record that is wrong, also of later clones.
    """
    disk = disk_of(ctx.vm, ctx.params.disk)
    refuse_drift(ctx.vm, ctx.agent, drift.named(f"disk {disk.target}"))
    volume = disk.volume
    size = ctx.params.size_gib * 1024**3
    ctx.agent.call(
        devices.DiskGrow(str(ctx.vm.uuid), volume.ref, size, volume.format),
        deadline=CREATE_SECONDS,
    )
    with transaction.atomic():
        Volume.objects.filter(pk=volume.pk, size_gib__lt=ctx.params.size_gib).update(size_gib=ctx.params.size_gib)
        note_size(ctx.vm.pk)


class GrowDisk(DeviceOperation):
    """Make a disk larger, while the VM runs too. The guest's file systems are its own affair."""

    name = "vm.grow-disk"
    label = "Grow disk"
    requires = (*DeviceOperation.requires, NO_SNAPSHOTS)
    params = GrowDiskParams
    on_failure = "stop"
    # Ended half way the disk would be larger than its row says: its owner would have that for nothing.
    cancellable = "queued"
    # No undo: a volume is never made smaller, and asking again goes on where it was.
    steps = (
        Step(reserve_growth, "See that the owner may have it", inline=True),
        Step(
            grow_volume,
            "Grow the disk",
            describe=lambda ctx: Text(GROWN, {"disk": ctx.params.disk, "size_gib": ctx.params.size_gib}),
        ),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Shrinking, and a pool without room."""
        demand(ctx.vm, undrifted(drift.named(f"disk {ctx.params.disk}")))
        volume = disk_of(ctx.vm, ctx.params.disk).volume
        if ctx.params.size_gib < volume.size_gib:
            text = Text("The disk has {size_gib} GiB and cannot become smaller.", {"size_gib": volume.size_gib})
            raise InvalidValue(text, field="size_gib", minimum=volume.size_gib)
        if Can.GROW_LIVE not in volume.can and ctx.vm.status in ON:
            still_on = "A disk in this storage cannot grow while the VM runs: shut it down first."
            raise WrongState(still_on, object="vm", id=ctx.vm.pk, state=ctx.vm.status, field="disk")
        refuse_over_limits(ctx.vm.owner, Resources(disk_gib=refuse_no_growth(ctx, volume)))


class RemoveDiskParams(Params):
    """Which disk."""

    disk: str = Field(max_length=8, description="The guest's name for it, as vdb.")


def find_named_disk(ctx: VmContext[RemoveDiskParams]) -> Disk | None:
    """The disk to be removed, None when it is gone already."""
    return ctx.vm.disks.select_related("volume__pool").filter(target=ctx.params.disk).first()


def unplug_disk(ctx: VmContext[RemoveDiskParams]) -> None:
    """The domain does not have the disk; where the guest does not let go, nothing has changed."""
    if (disk := find_named_disk(ctx)) is not None:
        if disk.attached:
            refuse_drift(ctx.vm, ctx.agent, drift.named(f"disk {disk.target}"))
        refuse_used(ctx, [disk.volume])
        _detach(ctx, disk)


def delete_volume(ctx: VmContext[RemoveDiskParams]) -> None:
    """The disk's volume is not on the node."""
    if (disk := find_named_disk(ctx)) is not None:
        _delete_volume(ctx, disk)


def forget_disk(ctx: VmContext[RemoveDiskParams]) -> None:
    """Nothing of the disk stands in the database."""
    if (disk := find_named_disk(ctx)) is not None:
        _forget(disk)


class RemoveDisk(DeviceOperation):
    """Remove a disk with all that is on it, while the VM runs too. The disk that it starts from stays."""

    name = "vm.remove-disk"
    label = "Remove disk"
    requires = (*DeviceOperation.requires, NO_SNAPSHOTS)
    params = RemoveDiskParams
    on_failure = "stop"
    cancellable = "queued"
    dangerous = True
    warning = "What is on it cannot be brought back."
    # No step has an undo: what is deleted cannot come back. The record goes last, so it can be asked for again.
    steps = (
        Step(unplug_disk, "Detach the disk", describe=lambda ctx: ctx.params.disk),
        Step(delete_volume, "Delete the disk"),
        Step(forget_disk, "Forget the disk"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """The first disk, and one that cannot be unplugged while the guest runs."""
        disk, first = disk_of(ctx.vm, ctx.params.disk), ctx.vm.disks.order_by("position").first()
        demand(ctx.vm, undrifted(drift.named(f"disk {disk.target}")))
        if disk == first:
            raise InvalidValue("The VM starts from this disk; only deleting the VM removes it.", field="disk")
        if disk.bus == DiskBus.SATA and disk.attached and ctx.vm.status in ON:
            text = "A disk on SATA cannot be removed while the VM runs: shut it down first."
            raise WrongState(text, object="vm", id=ctx.vm.pk, state=ctx.vm.status, field="disk")


class ChangeDiskParams(Params):
    """What shall be otherwise; what is not given stays. Limits are a second, 0 for none."""

    disk: str = Field(max_length=8, description="The guest's name for it, as vdb.")
    bus: DiskBus | None = Field(default=None, description="From the next start on, under a name of the new bus.")
    cache: DiskCache | None = Field(default=None, description="From the next start on.")
    read_bytes_sec: int | None = Field(default=None, ge=0, le=LARGEST_LIMIT)
    write_bytes_sec: int | None = Field(default=None, ge=0, le=LARGEST_LIMIT)
    read_iops_sec: int | None = Field(default=None, ge=0, le=LARGEST_LIMIT)
    write_iops_sec: int | None = Field(default=None, ge=0, le=LARGEST_LIMIT)


def remember_disk(ctx: VmContext[ChangeDiskParams]) -> dict[str, Any]:
    """What the disk was and what it shall be is in the task; nothing has changed."""
    disk, asked = disk_of(ctx.vm, ctx.params.disk), ctx.params.model_dump(exclude={"disk"}, exclude_none=True)
    ctx.claim("disk", disk.pk)
    after = {name: str(value) if name in ("bus", "cache") else value for name, value in asked.items()}
    if after.get("bus", disk.bus) != disk.bus and DiskBus.VIRTIO in (after["bus"], disk.bus):
        after["target"] = free_target(ctx.vm, after["bus"])
        promise_targets(ctx, disk.target, after["target"])
    return {"disk": disk.pk, "before": {name: getattr(disk, name) for name in after}, "after": after}


def change_disk(ctx: VmContext[ChangeDiskParams]) -> dict[str, Any]:
    """The disk is as was asked for; bus and cache in a running guest from its next start on."""
    return _become(ctx, "after")


def change_disk_back(ctx: VmContext[ChangeDiskParams]) -> None:
    """The disk is as it was; one that was removed before its turn came, or with its VM, stays so."""
    if Disk.objects.filter(pk=ctx.output(remember_disk)["disk"]).exists():
        _become(ctx, "before")


def _become(ctx: VmContext[ChangeDiskParams], which: str) -> dict[str, Any]:
    remembered = ctx.output(remember_disk)
    if not Disk.objects.filter(pk=remembered["disk"]).exists():
        raise NotFound("The disk was removed meanwhile.", object="disk", id=ctx.params.disk, field="disk")
    Disk.objects.filter(pk=remembered["disk"]).update(**remembered[which])
    disk = Disk.objects.select_related("volume__pool").get(pk=remembered["disk"])
    other = with_values(disk, remembered["before" if which == "after" else "after"])
    describe_disk(ctx, disk_spec(disk), disk_spec(other))
    return told(make_live(ctx, devices.DiskLimit(uuid=str(ctx.vm.uuid), disk=disk_spec(disk))), disk=disk.target)


class ChangeDisk(DeviceOperation):
    """Change a disk's bus, cache mode or limits; limits at once, the others at the next start."""

    name = "vm.change-disk"
    label = "Change disk"
    params = ChangeDiskParams
    steps = (
        # No undo: it changes nothing.
        Step(remember_disk, "Look what the disk is", inline=True),
        Step(change_disk, "Change the disk", undo=change_disk_back, describe=lambda ctx: ctx.params.disk),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Nothing to change, and limits from those whom they are to limit."""
        disk_of(ctx.vm, ctx.params.disk)
        asked = ctx.params.model_fields_set - {"disk"}
        if asked & {"bus", "cache"}:
            demand(ctx.vm, undrifted(drift.named(f"disk {ctx.params.disk}")))
        if not asked:
            raise MissingValue("Say what shall be changed.", field="bus")
        if asked & set(LIMITS):
            permissions.require(viewer, "cluster.manage")


def _refuse_no_slot(vm: Vm, bus: str) -> None:
    if bus == DiskBus.VIRTIO:
        refuse_no_slot(vm)


def _detach(ctx: VmContext[Any], disk: Disk) -> None:
    """The guest first: while it has the disk, its description says so."""
    volume, uuid = disk.volume.ref, str(ctx.vm.uuid)
    unplug(ctx, devices.DiskDetach(uuid=uuid, volume=volume, target=disk.target))
    Disk.objects.filter(pk=disk.pk).update(attached=False)
    describe_disk(ctx, None, disk_spec(disk))


def _delete_volume(ctx: VmContext[Any], disk: Disk) -> None:
    ctx.agent.call(storage.VolumeDelete(disk.volume.ref))


def _forget(disk: Disk) -> None:
    with transaction.atomic():
        disk.delete()
        disk.volume.delete()
        note_size(disk.vm_id)
