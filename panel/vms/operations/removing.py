"""Steps that take a VM away, whole or as far as it was made: of vm.delete, and undone ones of vm.create, vm.clone."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nodeagent.protocol import host, storage
from panel.network.models import Address
from panel.notices.services import close_problems_of
from panel.storage.models import Volume
from panel.vms.context import VmContext
from panel.vms.models import Vm, VmStatus
from panel.vms.status import tell_gone
from panel.vms.usage import note_shape


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
        for volume in [*ctx.volumes(), *[spare.volume for spare in vm.spares.select_related("volume__pool")]]:
            ctx.agent.call(storage.VolumeDelete(pool=volume.pool.path, path=volume.path))


def delete_seeds(ctx: VmContext[Any]) -> None:
    """None of the VM's seeds is on the node."""
    if (vm := ctx.find_vm()) is not None:
        for path in [vm.seed_path, *[spare.seed_path for spare in vm.spares.select_related("vm__pool")]]:
            ctx.agent.call(storage.SeedDelete(pool=vm.pool.path, path=path))


def release_records(ctx: VmContext[Any]) -> None:
    """Nothing of the VM stands in the database; its address is free again."""
    if (vm := ctx.find_vm()) is not None:
        forget_vm(vm)


def forget_vm(vm: Vm) -> None:
    """Nothing of the VM stands in the database; its address is free again. What a node has of it stays."""
    with transaction.atomic():
        # Held, so that no observation adds to its history while it goes.
        if not Vm.objects.select_for_update().filter(pk=vm.pk).exists():
            return
        vm_id = vm.pk
        volumes = [*vm.disks.values_list("volume_id", flat=True), *vm.spares.values_list("volume_id", flat=True)]
        addresses = list(vm.interfaces.values_list("address_id", flat=True))
        vm.delete()
        close_problems_of("vm", vm_id)
        Volume.objects.filter(pk__in=volumes).delete()
        Address.objects.filter(pk__in=addresses).delete()
        vm.pk = vm_id
        note_shape(vm_id)
        transaction.on_commit(lambda: tell_gone(vm))
