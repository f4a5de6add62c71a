"""vm.reinstall: another system, or the same anew, on a VM that keeps its name, addresses and size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import transaction
from pydantic import Field

from nodeagent.protocol import storage
from panel.accounts.models import User
from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.images.models import Image
from panel.images.selectors import image_named
from panel.storage.models import Volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.vms import drift, losses, saved, waiting
from panel.vms.models import AuxiliaryDisk, Disk, Purpose, Vm
from panel.vms.operations import auxiliary, deploying
from panel.vms.operations.deploying import (
    AccessParams,
    copy_image,
    customize_guest,
    delete_copy,
    delete_seed,
    delete_upload,
    start_domain,
    stop_domain,
)
from panel.vms.operations.removing import refuse_used
from panel.vms.placing import hold_promises, refuse_no_storage
from panel.vms.requirements import (
    FINISHED,
    NO_SNAPSHOTS,
    NOT_ELSEWHERE,
    NOT_IN_RESCUE,
    NOT_INSTALLING,
    NOT_MISSING,
    NOT_SUSPENDED,
    undrifted,
)
from panel.vms.spec import disk_spec, domain_spec


class ReinstallParams(AccessParams):
    """Which system, and how to get into it."""

    image: str | None = Field(default=None, max_length=64, description="Name of an OS image; none: the same again.")


class ReinstallContext(auxiliary.AuxiliaryContext[ReinstallParams]):
    """The VM with its old system and the new one beside it."""

    purposes = (Purpose.REINSTALL,)

    @property
    def wanted_image(self) -> Image:
        """The image that is asked for; raises NotFound or WrongState."""
        if self.params.image:
            return image_named(self.params.image)
        if self.vm.image is None:
            raise WrongState(
                "The VM's image is not known any more: name one.",
                object="vm",
                id=self.vm.pk,
                state="without an image",
                field="image",
            )
        return self.vm.image

    @property
    def system(self) -> Disk:
        """The disk that holds the system: the one that the VM starts from, whatever the others are called."""
        return self.vm.disks.select_related("volume__pool").order_by("position")[0]


def reserve_system(ctx: ReinstallContext) -> dict[str, Any]:
    """The new system's volume stands in the database."""
    return auxiliary.reserve(ctx, ctx.wanted_image, ctx.system.volume.size_gib)


def place_image(ctx: ReinstallContext) -> dict[str, Any]:
    """The node has the image, and nobody else has the old system, which will be deleted."""
    refuse_used(ctx, [ctx.system.volume])
    return auxiliary.place_image(ctx)


def grow_disk(ctx: ReinstallContext) -> None:
    """The new system's volume is as large as the old one's is by now: what went ahead may have made it larger."""
    new, wanted = ctx.target.volume, ctx.system.volume.size_gib
    with transaction.atomic():
        hold_promises(ctx.vm.cluster_id)
        if wanted > new.size_gib:
            refuse_no_storage(ctx.vm.node, new.pool, wanted - new.size_gib, field="image")
        Volume.objects.filter(pk=new.pk).update(size_gib=wanted)
    deploying.grow_disk(ctx)


def stop_old(ctx: ReinstallContext) -> None:
    """The old system does not run."""
    auxiliary.shut_down(ctx)
    # Nobody could go on from it: the system that it belongs to goes.
    saved.discard(ctx)


def swap_systems(ctx: ReinstallContext) -> None:
    """The VM's disk, seed and image are the new ones; the old ones are beside it."""
    if ctx.system.volume_id != ctx.output(reserve_system)["volume"]:
        _swap(ctx)
    _define(ctx)


def swap_back(ctx: ReinstallContext) -> None:
    """The VM's disk, seed and image are the old ones, as long as they are there.

    They are not when the last step has deleted them and its answer was lost: then the VM stays with the new ones.
    """
    auxiliary_disk = ctx.find_auxiliary_disk()
    if ctx.system.volume_id == ctx.output(reserve_system)["volume"] and auxiliary_disk is not None:
        old = auxiliary_disk.volume
        if not ctx.agent.call(storage.VolumeInfo(old.ref, old.format)).exists:
            ctx.log("The old system is deleted already: the VM keeps the new one.", "warning")
            return
        _swap(ctx)
    _define(ctx)


def _swap(ctx: ReinstallContext) -> None:
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        auxiliary_disk = AuxiliaryDisk.objects.get(vm=vm, purpose=Purpose.REINSTALL)
        disk = ctx.system
        old, new = disk.volume_id, auxiliary_disk.volume_id
        Vm.objects.filter(pk=vm.pk).update(image=auxiliary_disk.image_id, seed=auxiliary_disk.seed)
        Disk.objects.filter(pk=disk.pk).update(volume=new)
        AuxiliaryDisk.objects.filter(pk=auxiliary_disk.pk).update(image=vm.image_id, seed=vm.seed, volume=old)


def _define(ctx: ReinstallContext) -> None:
    """The domain has the system that the rows say is its own; what it had was the one that is beside it now."""
    # What the context remembers of the VM may be from before the swap.
    after, auxiliary_disk, target = domain_spec(ctx.look_again()), ctx.find_auxiliary_disk(), ctx.system.target
    if auxiliary_disk is None:
        return
    old = replace(disk_spec(ctx.system), volume=auxiliary_disk.volume.ref, format=auxiliary_disk.volume.format)
    others = [each for each in after.disks if each.target != target]
    now = replace(after, disks=[disk_spec(ctx.system), *others])
    drift.define(ctx, now, replace(after, disks=[old, *others], cdroms=[drift.ANYTHING]))


def wait_for_new(ctx: ReinstallContext) -> dict[str, Any]:
    """The new system answers on the VM's address."""
    image = ctx.vm.image
    return {"seconds": waiting.reach(ctx, image.reachable_port if image else 22)}


def delete_old(ctx: ReinstallContext) -> dict[str, Any]:
    """Nothing of the old system is left."""
    if (auxiliary_disk := ctx.find_auxiliary_disk()) is not None:
        auxiliary.delete_files(ctx, auxiliary_disk)
        auxiliary.drop(auxiliary_disk)
    Vm.objects.filter(pk=ctx.vm.pk).update(known_to_former_owner=False)
    auxiliary.remember_running(ctx)
    return {"result": {"image": ctx.vm.image.name if ctx.vm.image else None}}


class ReinstallVm(Operation[ReinstallParams]):
    """Put another OS image, or the same anew, on a VM's first disk and leave it running.

    Name, addresses, MAC, size and other disks stay, and password and keys where no others are asked for.
    What is on the first disk is lost, but only once the new
    system has answered: until then a failure leaves the VM as it was.
    """

    name = "vm.reinstall"
    label = "Reinstall"
    requires = (
        NOT_ELSEWHERE,
        FINISHED,
        NOT_MISSING,
        NOT_SUSPENDED,
        NOT_IN_RESCUE.when_asked,
        NO_SNAPSHOTS,
        NOT_INSTALLING,
        undrifted(drift.own_disk),
    )
    placed = True
    permission = "vms.reinstall"
    params = ReinstallParams
    context = ReinstallContext
    dangerous = True
    warning = "Everything on the system's disk is lost."
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(reserve_system, "Reserve the disk", undo=auxiliary.release, inline=True),
        Step(place_image, "Send the image to the node", undo=delete_upload, weight=5),
        Step(copy_image, "Copy the image", undo=delete_copy, weight=10),
        # No undo: the volume goes as a whole.
        Step(grow_disk, "Grow the disk"),
        Step(customize_guest, "Prepare the guest's settings", undo=delete_seed, weight=2, ends_secrets=True),
        Step(
            stop_old,
            "Shut the old system down",
            undo=auxiliary.start_as_before,
            weight=3,
            describe=lambda ctx: saved.and_discard(ctx, Text("the old system is shut down")),
        ),
        Step(swap_systems, "Swap the disks", undo=swap_back),
        Step(start_domain, "Start the new system", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing.
        Step(wait_for_new, "Wait until the guest answers", weight=20),
        # No undo: what is deleted cannot come back; swap_back looks whether it was.
        Step(delete_old, "Delete the old system"),
    )

    def losses(self, obj: Any) -> list[Text]:
        """The disk that has its system."""
        return [losses.of_disk(each) for each in sorted(obj.told_disks, key=lambda disk: disk.position)[:1]]

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Reinstall VM {vm}", {"vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse an unknown or unfit image, and a VM that is missing or in rescue mode."""
        auxiliary.check_image(ctx.vm, ctx.wanted_image, disk_gib=ctx.system.volume.size_gib, params=ctx.params)
