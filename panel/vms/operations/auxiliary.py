"""What vm.reinstall and vm.rescue share: a system that is made beside a VM's own."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from django.conf import settings

from nodeagent.protocol import host, identity, storage
from panel.accounts.models import SshKey
from panel.core.errors import InvalidValue, MissingValue
from panel.core.wording import Text
from panel.images.models import Customization, Image
from panel.storage.services import new_volume
from panel.vms import drift, waiting
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.models import ON, AuxiliaryDisk, Purpose, Vm
from panel.vms.operations import deploying
from panel.vms.operations.deploying import AccessParams, DeployContext, Target
from panel.vms.placing import hold_promises, refuse_no_storage
from panel.vms.services import want
from panel.vms.spec import first_interface, uses_seed

GIB = 1024**3
P = TypeVar("P", bound=AccessParams)


class AuxiliaryContext(DeployContext[P]):
    """The context of an operation that makes a system beside the VM's own."""

    purposes: tuple[Purpose, ...]
    """What it is there for to begin with, and later."""

    @property
    def kept_seed(self) -> storage.VolumeRef | None:
        """The VM's own, but for what a former owner knows."""
        return self.vm.seed_ref if keeps_access(self.vm) else None

    def find_auxiliary_disk(self) -> AuxiliaryDisk | None:
        """The system beside the VM's own, or None."""
        auxiliary = AuxiliaryDisk.objects.select_related("volume__pool", "image", "vm__pool")
        return auxiliary.filter(vm_id=self.task.object_id or 0, purpose__in=self.purposes).first()

    def find_target(self) -> Target | None:
        """The new system's volume and seed; cloud-init is told that it is a guest of its own."""
        auxiliary_disk = self.find_auxiliary_disk()
        if auxiliary_disk is None:
            return None
        return Target(
            auxiliary_disk.image, auxiliary_disk.volume, auxiliary_disk.seed_ref, str(auxiliary_disk.volume.uuid)
        )


def reserve(ctx: AuxiliaryContext[Any], image: Image, size_gib: int) -> dict[str, Any]:
    """The new system stands in the database; answers its volume."""
    vm = ctx.vm
    hold_promises(vm.cluster_id)
    refuse_no_capacity(vm, image, size_gib)
    # The VM has a place for one.
    ctx.claim("vm", vm.pk, ctx.task.operation)
    volume = new_volume(vm.pool, vm.node, format=vm.pool.volume_format, size_gib=size_gib)
    AuxiliaryDisk.objects.create(vm=vm, purpose=ctx.purposes[0], volume=volume, image=image, seed=uuid.uuid4())
    return {"volume": volume.pk}


def release(ctx: AuxiliaryContext[Any]) -> None:
    """The new system does not stand in the database."""
    drop(ctx.find_auxiliary_disk())


def drop(auxiliary_disk: AuxiliaryDisk | None) -> None:
    """The auxiliary disk's rows are gone."""
    if auxiliary_disk is not None:
        auxiliary_disk.delete()
        auxiliary_disk.volume.delete()


def place_image(ctx: AuxiliaryContext[Any]) -> dict[str, Any]:
    """The node has the image; whether the VM runs is known. Not when it was asked for: what went ahead decides that.

    A VM whose disks go on in other files than the panel knows is refused before anything of it is touched.
    """
    refuse_drift(ctx.vm, ctx.agent, drift.own_disk)
    return {**deploying.place_image(ctx), "ran": ctx.vm.status in ON}


def delete_files(ctx: VmContext[Any], auxiliary_disk: AuxiliaryDisk) -> None:
    """The auxiliary disk's volume and seed are not on the node.

    The volume goes first: as long as it is there, so is the seed, and the system can be booted again.
    """
    volume = auxiliary_disk.volume
    ctx.agent.call(storage.VolumeDelete(volume.ref))
    # A system that has no cloud-init has no seed: absent is success.
    ctx.agent.call(identity.SeedDelete(auxiliary_disk.seed_ref))


def shut_down(ctx: VmContext[Any]) -> None:
    """The VM is off: its guest obeyed in time, or was forced."""
    waiting.shut_down(ctx, float(settings.CONFIG.shutdown_seconds))


def start_as_before(ctx: AuxiliaryContext[Any]) -> None:
    """The VM runs, if it did before it was shut down."""
    start_if(ctx, bool(ctx.output(place_image).get("ran")))


def start_if(ctx: VmContext[Any], wanted: bool) -> None:
    """The VM runs, if it shall, nobody keeps it off by now and no copy of it runs on another node."""
    if not wanted or (vm := ctx.find_vm()) is None or vm.suspended:
        return
    if vm.seen_elsewhere:
        ctx.log("It is not started: another node runs a domain of this VM's UUID.", "warning")
        return
    ctx.read_state(host.HostStart(uuid=str(vm.uuid)))


def remember_running(ctx: VmContext[Any]) -> None:
    """The VM shall run."""
    want(ctx.vm, "running")


def check_image(vm: Vm, image: Image, *, disk_gib: int, params: AccessParams) -> None:
    """Refuse a VM without interface or too small for the image, a system that lets nobody in, and a full pool."""
    first_interface(vm)
    if vm.memory_mib < image.min_memory_mib:
        raise InvalidValue(
            Text(
                "“{image}” needs at least {memory_mib} MiB of memory.",
                {"image": image.title, "memory_mib": image.min_memory_mib},
            ),
            field="image",
            minimum=image.min_memory_mib,
        )
    smallest = smallest_gib(image)
    if disk_gib < smallest:
        raise InvalidValue(
            Text("“{image}” needs a disk of at least {disk_gib} GiB.", {"image": image.title, "disk_gib": smallest}),
            field="image",
            minimum=smallest,
        )
    if image.customization == Customization.VIRT_CUSTOMIZE and not (params.password or params.ssh_keys):
        raise MissingValue("This image needs a password or an ssh key.", field="password")
    has_keys = SshKey.objects.filter(user=vm.owner).exists()
    if not keeps_access(vm) and not (params.password or params.ssh_keys or has_keys):
        raise MissingValue(identity.NOBODY_ENTERS, field="password")
    refuse_no_capacity(vm, image, disk_gib)


def refuse_no_capacity(vm: Vm, image: Image, disk_gib: int) -> None:
    """Raise CapacityError where the VM's storage cannot take a disk of this image beside its own."""
    refuse_no_storage(vm.node, vm.pool, disk_gib, field="image", written_bytes=image.virtual_bytes)


def keeps_access(vm: Vm) -> bool:
    """Whether a new system may let in whom the VM's own was told to: its seed says whom, and they are its owner's."""
    return uses_seed(vm) and not vm.known_to_former_owner


def smallest_gib(image: Image) -> int:
    """The smallest disk that the image fits on."""
    return max(image.min_disk_gib, -(-image.virtual_bytes // GIB))
