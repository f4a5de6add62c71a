"""vm.rescue and vm.end-rescue: another system looks after the VM's disks, and its own comes back."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from pydantic import Field

from panel.accounts.models import User
from panel.core.errors import MissingValue
from panel.images.models import Image
from panel.images.selectors import image_named
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift, waiting
from panel.vms.context import VmContext
from panel.vms.models import Purpose, Spare, Wanted
from panel.vms.operations import spares
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
from panel.vms.spec import host_spec, own_spec, rescue_spec


class RescueParams(AccessParams):
    """Which rescue system, and how to get into it."""

    image: str | None = Field(default=None, max_length=64, description="Name of an OS image; none: RescueImage.")


class RescueContext(spares.SpareContext[RescueParams]):
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
    return spares.reserve(ctx, image, spares.smallest_gib(image))


def stop_own(ctx: VmContext[Any]) -> None:
    """The VM's own system does not run."""
    spares.shut_down(ctx)


def define_rescue(ctx: RescueContext) -> None:
    """The domain boots the rescue system and has the VM's disks behind it."""
    # Not before: what has its turn ahead of this task would describe the domain with a disk that is not there yet.
    ctx.vm.spares.filter(purpose=Purpose.PREPARED).update(purpose=Purpose.RESCUE)
    drift.define(ctx, host_spec(ctx.vm), own_spec(ctx.vm))


def define_own_again(ctx: RescueContext) -> None:
    """The domain boots the VM's own system, and the VM is in rescue mode no more."""
    if ctx.find_vm() is not None and (spare := ctx.find_spare()) is not None:
        define_own(ctx, spare)
        ctx.vm.spares.filter(purpose=Purpose.RESCUE).update(purpose=Purpose.PREPARED)


def define_own(ctx: VmContext[Any], spare: Spare) -> None:
    """The domain boots the VM's own system, where it booted the rescue system."""
    drift.define(ctx, own_spec(ctx.vm), rescue_spec(ctx.vm, spare))


def wait_for_rescue(ctx: RescueContext) -> dict[str, Any]:
    """The rescue system answers on the VM's address, and shall run."""
    seconds = waiting.reach(ctx, ctx.target_image.reachable_port)
    spares.remember_running(ctx)
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
        Step(reserve_rescue, "Reserve a disk", undo=spares.release, inline=True),
        Step(spares.place_image, "Send the image to the node", undo=delete_upload, weight=5),
        Step(copy_image, "Copy the image", undo=delete_copy, weight=5),
        # No undo: the volume goes as a whole.
        Step(grow_disk, "Grow the disk to what the image needs"),
        Step(customize_guest, "Prepare the rescue system's settings", undo=delete_seed, weight=2, ends_secrets=True),
        Step(stop_own, "Shut the VM down", undo=spares.start_as_before, weight=3),
        Step(define_rescue, "Boot from the rescue system", undo=define_own_again),
        Step(start_domain, "Start the rescue system", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing, and what is wanted is remembered last.
        Step(wait_for_rescue, "Wait until it answers", weight=20),
    )

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Rescue VM {ctx.task.object_name}"

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM that is in rescue mode or missing, and an unknown or unfit image."""
        image = ctx.wanted_image
        spares.check_image(ctx.vm, image, disk_gib=spares.smallest_gib(image), params=ctx.params)


class EndRescueParams(Params):
    """Nothing to choose."""


def stop_rescue(ctx: VmContext[Any]) -> None:
    """The rescue system does not run."""
    if _left(ctx, Purpose.RESCUE) is not None:
        spares.shut_down(ctx)


def leave_rescue(ctx: VmContext[Any]) -> None:
    """The domain boots the VM's own system, and the VM is in rescue mode no more."""
    if (spare := _left(ctx, Purpose.RESCUE)) is not None:
        define_own(ctx, spare)
        Spare.objects.filter(pk=spare.pk).update(purpose=Purpose.LEFT)


def delete_rescue(ctx: VmContext[Any]) -> None:
    """Nothing of the rescue system is left."""
    if (spare := _left(ctx, Purpose.LEFT)) is not None:
        spares.delete_files(ctx, spare)
        spares.drop(spare)


def start_again(ctx: VmContext[Any]) -> None:
    """The VM's own system runs, if the VM was last wanted to and nobody keeps it off."""
    spares.start_if(ctx, ctx.vm.wanted == Wanted.RUNNING)


def _left(ctx: VmContext[Any], purpose: Purpose) -> Spare | None:
    return ctx.vm.spares.filter(purpose=purpose).select_related("volume__pool", "vm__pool").first()


class EndRescue(Operation[EndRescueParams]):
    """Remove the rescue system and boot the VM's own again, if the VM was last wanted to run and is not suspended.

    Asked for where there is no rescue mode, it only sees to it that the VM runs as it is wanted to.
    """

    name = "vm.end-rescue"
    label = "End rescue"
    requires = (NOT_ELSEWHERE, FINISHED, NOT_MISSING)
    offered = (requirement("in rescue mode", lambda vm: vm.spares.exists(), "not in rescue mode"),)
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

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"End rescue of VM {ctx.task.object_name}"
