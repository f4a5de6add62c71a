"""Steps that take a VM away, whole or as far as it was made: of vm.delete, and undone ones of vm.create, vm.clone."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nodeagent import storage as storages
from nodeagent.protocol import host, identity, storage
from panel.cluster.nodes import Agent
from panel.core.errors import Cancelled, WrongState
from panel.core.wording import Text
from panel.network.services import release
from panel.notices.services import close_problems_of
from panel.storage.models import Volume
from panel.usage.models import OrderEnd
from panel.vms.context import VmContext
from panel.vms.elsewhere import refuse_moved
from panel.vms.models import InterfaceAddress, Vm, VmStatus
from panel.vms.status import tell_gone
from panel.vms.usage import note_shape, tell_ending

SHARED = (
    "The domain “{domain}” on its node has the file “{file}” too (its disk {disk}), and would lose it. "
    "Take the disk from that domain first."
)
BUILT_UPON = (
    "The domain “{domain}” on its node builds upon the file “{file}” too (its disk {disk}), and would lose it. "
    "Take the disk from that domain first."
)


def see_disks(ctx: VmContext[Any]) -> dict[str, Any]:
    """Nobody else has the VM's disks, and what its domain has besides them is known: nothing was touched yet.

    Overlays that somebody made of its disks go with them; other files of his stay.
    """
    vm = ctx.find_vm()
    if vm is None:
        return {}
    if vm.installed:
        refuse_moved(ctx)
    used = refuse_used(ctx, ctx.volumes())
    own = {volume.place for volume in ctx.volumes()}
    targets = {each.target for each in used if each.backing and each.place in own}
    others = sorted({each.place for each in used if each.uuid == str(vm.uuid) and not is_drive(vm, each)} - own)
    upon = {each.place for each in used if each.uuid == str(vm.uuid) and each.target in targets}
    overlays = [place for place in others if place in upon and storages.named(_pools(ctx), place)]
    if left := [place for place in others if place not in overlays]:
        ctx.log(Text("Not the panel's, and left where they are: {files}.", {"files": ", ".join(left)}), "warning")
    return {"overlays": overlays}


def _pools(ctx: VmContext[Any]) -> list[storage.PoolRef]:
    return [volume.pool.ref for volume in ctx.volumes()]


def refuse_used(ctx: VmContext[Any], volumes: list[Volume], agent: Agent | None = None) -> list[storage.VolumeUse]:
    """Raise WrongState for a volume that another domain of the node has, or whose disk builds upon it; reads only.

    Answers what the VM's own domain has, and whose these volumes are.
    """
    asked = storage.UsesRead(volumes=[volume.ref for volume in volumes], uuid=str(ctx.vm.uuid))
    places = {volume.place for volume in volumes}
    used = (agent or ctx.agent).call(asked).uses
    strangers = [each for each in used if each.place in places and each.uuid != asked.uuid]
    if strangers:
        other = strangers[0]
        data = {"domain": other.domain, "file": other.place.rpartition("/")[2], "disk": other.target}
        raise WrongState(
            Text(BUILT_UPON if other.backing else SHARED, data),
            object="vm",
            id=ctx.vm.pk,
            state="sharing a disk",
            field="id",
        )
    return used


def is_drive(vm: Vm, use: storage.VolumeUse) -> bool:
    """Whether it is what lies in one of the drives that the panel describes, and no disk."""
    folders = [storage.file_ref(vm.pool.store, folder, "").pool for folder in ("seeds", "images")]
    return storages.named(folders, use.place) is not None


def undefine_domain(ctx: VmContext[Any]) -> None:
    """The node's libvirt does not have the domain, and it does not run."""
    if (vm := ctx.find_vm()) is not None:
        if ctx.agent.call(host.HostStop(uuid=str(vm.uuid))).state == VmStatus.SAVED:
            ctx.log("Its saved memory is discarded with it.", "warning")
        ctx.agent.call(host.HostDelete(uuid=str(vm.uuid)))


def delete_volumes(ctx: VmContext[Any]) -> None:
    """None of the VM's volumes is on the node, finished or not; nor those of a system beside its own."""
    vm = ctx.find_vm()
    if vm is not None:
        delete_overlays(ctx)
        for volume in [
            *ctx.volumes(),
            *[auxiliary_disk.volume for auxiliary_disk in vm.auxiliary_disks.select_related("volume__pool")],
        ]:
            ctx.agent.call(storage.VolumeDelete(volume.ref))


def delete_overlays(ctx: VmContext[Any]) -> None:
    """What somebody made of the VM's disks to go on in, and would build upon nothing, is not on the node."""
    for place in ctx.output(see_disks).get("overlays", []):
        volume = storages.named(_pools(ctx), place)
        if volume is not None:
            ctx.agent.call(storage.VolumeDelete(volume))
            ctx.log(Text("Deleted “{file}”, which somebody made of its disk by hand.", {"file": place}))


def delete_seeds(ctx: VmContext[Any]) -> None:
    """None of the VM's seeds is on the node."""
    if (vm := ctx.find_vm()) is not None:
        for seed in [
            vm.seed_ref,
            *[auxiliary_disk.seed_ref for auxiliary_disk in vm.auxiliary_disks.select_related("vm__pool")],
        ]:
            ctx.agent.call(identity.SeedDelete(seed))


def release_records(ctx: VmContext[Any]) -> None:
    """Nothing of the VM stands in the database; its address is free again."""
    if (vm := ctx.find_vm()) is not None:
        forget_vm(vm, _order(ctx))


def _order(ctx: VmContext[Any]) -> str:
    """How the order ended of which this takes back what was made; "" where a VM is deleted."""
    if not ctx.undoing:
        return ""
    cancelled = (ctx.task.error or {}).get("code") == Cancelled.code
    return OrderEnd.CANCELLED if cancelled else OrderEnd.FAILED


def forget_vm(vm: Vm, order: str = "") -> None:
    """Nothing of the VM stands in the database; its address is free again. What a node has of it stays."""
    with transaction.atomic():
        # Held, so that no observation adds to its history while it goes.
        if not Vm.objects.select_for_update().filter(pk=vm.pk).exists():
            return
        vm_id = vm.pk
        volumes = [
            *vm.disks.values_list("volume_id", flat=True),
            *vm.auxiliary_disks.values_list("volume_id", flat=True),
        ]
        addresses = list(InterfaceAddress.objects.filter(interface__vm=vm).values_list("address_id", flat=True))
        tell_ending(vm_id)
        vm.delete()
        close_problems_of("vm", vm_id)
        Volume.objects.filter(pk__in=volumes).delete()
        # Whoever had them for an order that failed has not used them.
        release(*addresses, had_by=None if order else vm.owner_id)
        vm.pk = vm_id
        note_shape(vm_id, order)
        transaction.on_commit(lambda: tell_gone(vm))
