"""vm.rescue and vm.end-rescue: another system looks after the VM's disks, and its own comes back."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from pydantic import Field

from panel.accounts.models import User
from panel.core.errors import MissingValue
from panel.core.wording import Text
from panel.images.models import Image
from panel.images.selectors import image_named
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift, waiting
from panel.vms.context import VmContext
from panel.vms.models import AuxiliaryDisk, Purpose, Wanted
from panel.vms.operations import auxiliary
from panel.vms.operations.deploying import (
    AccessParams,
    copy_image,
    customize_guest,
    delete_copy,
    delete_seed,
    delete_upload,
    grow_disk,
    start_domain,
    stop_domain,
)
from panel.vms.requirements import (
    FINISHED,
    NOT_ELSEWHERE,
    NOT_IN_RESCUE,
    NOT_MISSING,
    NOT_SUSPENDED,
    requirement,
    undrifted,
)
from panel.vms.spec import domain_spec, own_spec, rescue_spec


class RescueParams(AccessParams):
    """Which rescue system, and how to get into it."""

    image: str | None = Field(default=None, max_length=64, description="Name of an OS image; none: RescueImage.")


class RescueContext(auxiliary.AuxiliaryContext[RescueParams]):
    """The VM with the rescue system beside its own."""

    purposes = (Purpose.PREPARED, Purpose.RESCUE)

    @property
    def wanted_image(self) -> Image:
        """The image that is asked for; raises NotFound or MissingValue."""
        name = self.params.image or settings.CONFIG.rescue_image
        if not name:
            raise MissingValue("Name an image: RescueImage is not set.", field="image")
        return image_named(name)


def reserve_rescue(ctx: RescueContext) -> dict[str, Any]:
    """The rescue system's volume stands in the database."""
    image = ctx.wanted_image
    return auxiliary.reserve(ctx, image, auxiliary.smallest_gib(image))


def stop_own(ctx: VmContext[Any]) -> None:
    """The VM's own system does not run."""
    auxiliary.shut_down(ctx)


def define_rescue(ctx: RescueContext) -> None:
    """The domain boots the rescue system and has the VM's disks behind it."""
    # Not before: what has its turn ahead of this task would describe the domain with a disk that is not there yet.
    ctx.vm.auxiliary_disks.filter(purpose=Purpose.PREPARED).update(purpose=Purpose.RESCUE)
    drift.define(ctx, domain_spec(ctx.vm), own_spec(ctx.vm))


def define_own_again(ctx: RescueContext) -> None:
    """The domain boots the VM's own system, and the VM is in rescue mode no more."""
    if ctx.find_vm() is not None and (auxiliary_disk := ctx.find_auxiliary_disk()) is not None:
        define_own(ctx, auxiliary_disk)
        ctx.vm.auxiliary_disks.filter(purpose=Purpose.RESCUE).update(purpose=Purpose.PREPARED)


def define_own(ctx: VmContext[Any], auxiliary_disk: AuxiliaryDisk) -> None:
    """The domain boots the VM's own system, where it booted the rescue system."""
    drift.define(ctx, own_spec(ctx.vm), rescue_spec(ctx.vm, auxiliary_disk))


def wait_for_rescue(ctx: RescueContext) -> dict[str, Any]:
    """The rescue system answers on the VM's address, and shall run."""
    seconds = waiting.reach(ctx, ctx.target_image.reachable_port)
    auxiliary.remember_running(ctx)
    return {"seconds": seconds}


class RescueVm(Operation[RescueParams]):
    """Boot a rescue system, on a disk of its own, with the VM's disks behind it.

    It has the VM's name and address, lets in who the request says, and stays through stops and starts until
    vm.end-rescue. The VM's disks are not touched by it.
    """

    name = "vm.rescue"
    label = "Rescue"
    requires = (
        NOT_ELSEWHERE,
        FINISHED,
        NOT_MISSING,
        NOT_SUSPENDED,
        NOT_IN_RESCUE.when_asked,
        undrifted(drift.own_disk),
    )
    placed = True
    permission = "vms.rescue"
    params = RescueParams
    context = RescueContext
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(reserve_rescue, "Reserve a disk", undo=auxiliary.release, inline=True),
        Step(auxiliary.place_image, "Send the image to the node", undo=delete_upload, weight=5),
        Step(copy_image, "Copy the image", undo=delete_copy, weight=5),
        # No undo: the volume goes as a whole.
        Step(grow_disk, "Grow the disk to what the image needs"),
        Step(customize_guest, "Prepare the rescue system's settings", undo=delete_seed, weight=2, ends_secrets=True),
        Step(stop_own, "Shut the VM down", undo=auxiliary.start_as_before, weight=3),
        Step(define_rescue, "Boot from the rescue system", undo=define_own_again),
        Step(start_domain, "Start the rescue system", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing, and what is wanted is remembered last.
        Step(wait_for_rescue, "Wait until it answers", weight=20),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Rescue VM {vm}", {"vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that is in rescue mode or missing, and an unknown or unfit image."""
        image = ctx.wanted_image
        auxiliary.check_image(ctx.vm, image, disk_gib=auxiliary.smallest_gib(image), params=ctx.params)


class EndRescueParams(Params):
    """Nothing to choose."""


def stop_rescue(ctx: VmContext[Any]) -> None:
    """The rescue system does not run."""
    if _left(ctx, Purpose.RESCUE) is not None:
        auxiliary.shut_down(ctx)


def leave_rescue(ctx: VmContext[Any]) -> None:
    """The domain boots the VM's own system, and the VM is in rescue mode no more."""
    if (auxiliary_disk := _left(ctx, Purpose.RESCUE)) is not None:
        define_own(ctx, auxiliary_disk)
        AuxiliaryDisk.objects.filter(pk=auxiliary_disk.pk).update(purpose=Purpose.LEFT)


def delete_rescue(ctx: VmContext[Any]) -> None:
    """Nothing of the rescue system is left."""
    if (auxiliary_disk := _left(ctx, Purpose.LEFT)) is not None:
        auxiliary.delete_files(ctx, auxiliary_disk)
        auxiliary.drop(auxiliary_disk)


def start_again(ctx: VmContext[Any]) -> None:
    """The VM's own system runs, if the VM was last wanted to and nobody keeps it off."""
    auxiliary.start_if(ctx, ctx.vm.wanted == Wanted.RUNNING)


def _left(ctx: VmContext[Any], purpose: Purpose) -> AuxiliaryDisk | None:
    return ctx.vm.auxiliary_disks.filter(purpose=purpose).select_related("volume__pool", "vm__pool").first()


class EndRescue(Operation[EndRescueParams]):
    """Remove the rescue system and boot the VM's own again, if the VM was last wanted to run and is not suspended.

    Asked for where there is no rescue mode, it only sees to it that the VM runs as it is wanted to.
    """

    name = "vm.end-rescue"
    label = "End rescue"
    requires = (NOT_ELSEWHERE, FINISHED, NOT_MISSING)
    offered = (requirement("in rescue mode", lambda vm: vm.auxiliary_disks.exists(), "not in rescue mode"),)
    rare = True
    permission = "vms.rescue"
    params = EndRescueParams
    context = VmContext
    # Forward only: each step that fails can be done again by asking again.
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(stop_rescue, "Shut the rescue system down", weight=3),
        Step(leave_rescue, "Boot from the VM's own disk"),
        Step(delete_rescue, "Delete the rescue system"),
        Step(start_again, "Start the VM"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("End rescue of VM {vm}", {"vm": ctx.task.object_name})
