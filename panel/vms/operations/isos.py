"""vm.mount-iso, vm.eject-iso: what lies in the VM's drive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from nodeagent.protocol import devices, storage
from nodeagent.protocol.host import ISO_TARGET
from panel.accounts.models import User
from panel.core.errors import InvalidValue, OperationFailed
from panel.core.wording import Text
from panel.images.models import Iso
from panel.images.selectors import iso_for
from panel.tasks.operation import Params, Step
from panel.vms import drift
from panel.vms.context import VmContext
from panel.vms.devices import DeviceOperation, make_live, told
from panel.vms.models import Vm
from panel.vms.operations.deploying import bring_file
from panel.vms.requirements import requirement
from panel.vms.spec import domain_spec, with_values

EMPTY = {"iso_id": None, "boot_iso": False, "boot_iso_once": False}
"""The drive's columns where nothing lies in it."""


class MountIsoParams(Params):
    """Which ISO image, and whether to start from it."""

    iso: str = Field(max_length=64, description="Name of an ISO image of all, or of the VM's owner's.")
    boot: bool = Field(default=False, description="Start from it, before the disks, until it is ejected.")
    boot_once: bool = Field(default=False, description="Start from it the next time alone; then from the disks again.")


def remember_drive(ctx: VmContext[MountIsoParams]) -> dict[str, Any]:
    """What lay in the drive and what shall is in the task; nothing has changed."""
    vm, iso = ctx.vm, iso_for(ctx.vm.owner, ctx.params.iso)
    return {
        "before": {"iso_id": vm.iso_id, "boot_iso": vm.boot_iso, "boot_iso_once": vm.boot_iso_once},
        "after": {"iso_id": iso.pk, "boot_iso": ctx.params.boot, "boot_iso_once": ctx.params.boot_once},
    }


def place_iso(ctx: VmContext[MountIsoParams]) -> dict[str, Any]:
    """The node has its own copy of the ISO image, checked against its SHA-256."""
    return {"sent": bring_file(ctx, _iso(ctx))}


def delete_iso_upload(ctx: VmContext[MountIsoParams]) -> None:
    """What this task sent and did not finish is gone; a finished copy serves every later VM."""
    iso = Iso.objects.filter(pk=ctx.output(remember_drive)["after"]["iso_id"]).first()
    if iso is not None and ctx.find_vm() is not None:
        ctx.agent.call(storage.UploadDelete(store=ctx.vm.pool.store, sha256=iso.sha256, task=ctx.task.pk))


def insert_iso(ctx: VmContext[MountIsoParams]) -> dict[str, Any]:
    """The ISO image lies in the VM's drive, at once where the running guest has one."""
    _iso(ctx)
    known = ctx.output(remember_drive)
    return _become(ctx, known["after"], known["before"])


def insert_what_was(ctx: VmContext[MountIsoParams]) -> None:
    """What lay in the drive before lies there again, unless it was deleted since."""
    known = ctx.output(remember_drive)
    there = Iso.objects.filter(pk=known["before"]["iso_id"]).exists()
    _become(ctx, known["before"] if there else EMPTY, known["after"])


def empty_drive(ctx: VmContext[Any]) -> dict[str, Any]:
    """Nothing lies in the VM's drive, and it starts from its disks."""
    # The description first: whoever does this again would not know what the rows said before.
    return _become(ctx, EMPTY, {name: getattr(ctx.look_again(), name) for name in EMPTY})


def _become(ctx: VmContext[Any], values: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    # Whatever lies in the drive, of somebody else too, makes room.
    other = replace(domain_spec(with_values(ctx.vm, before)), iso=drift.ANYTHING)
    drift.define(ctx, domain_spec(with_values(ctx.vm, values)), other)
    Vm.objects.filter(pk=ctx.vm.pk).update(**values)
    ctx.vm.refresh_from_db(fields=list(values))
    change = devices.CdromChange(uuid=str(ctx.vm.uuid), target=ISO_TARGET, iso=ctx.vm.iso_ref)
    return told(make_live(ctx, change))


def _iso(ctx: VmContext[MountIsoParams]) -> Iso:
    iso = Iso.objects.filter(pk=ctx.output(remember_drive)["after"]["iso_id"]).first()
    if iso is None or iso.owner_id not in (None, ctx.vm.owner_id):
        raise OperationFailed("The VM cannot have this ISO image any more.", step=ctx.step_name)
    return iso


def started_from(params: MountIsoParams) -> Text:
    """Which starts are from the ISO image, for people."""
    if params.boot_once:
        return Text("the next start is from it, and every later one from what it is now")
    return Text("the VM starts from it until it is ejected" if params.boot else "the VM starts from what it does now")


class MountIso(DeviceOperation):
    """Put an ISO image into the VM's drive, while it runs too; what lay there is ejected."""

    name = "vm.mount-iso"
    label = "Mount ISO"
    params = MountIsoParams
    steps = (
        # No undo: it changes nothing.
        Step(remember_drive, "Look what lies in the drive"),
        Step(
            place_iso,
            "Send the ISO image to the node",
            undo=delete_iso_upload,
            weight=5,
            describe=lambda ctx: Text("ISO image “{image}”, if the node has no copy", {"image": ctx.params.iso}),
        ),
        Step(insert_iso, "Insert the ISO image", undo=insert_what_was, describe=lambda ctx: started_from(ctx.params)),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """An ISO image that is neither the VM's owner's nor one of all; two answers to when to start from it."""
        if ctx.params.boot and ctx.params.boot_once:
            raise InvalidValue("Start from it until it is ejected, or once: not both.", field="boot_once")
        iso_for(ctx.vm.owner, ctx.params.iso)


class EjectIsoParams(Params):
    """Nothing to choose."""


class EjectIso(DeviceOperation):
    """Take the ISO image out of the VM's drive; it starts from its disks again."""

    name = "vm.eject-iso"
    label = "Eject ISO"
    offered = (requirement("a disc in its drive", lambda vm: vm.iso_id is not None, "without an ISO image"),)
    rare = True
    params = EjectIsoParams
    on_failure = "stop"
    # No undo: an empty drive is what was asked for, and asking again makes it so.
    steps = (Step(empty_drive, "Empty the drive"),)
