"""Steps that put a system on a volume and bring its guest up: of vm.create, vm.reinstall, vm.rescue.

The context says by `target` which image goes where. What differs between those operations is in their files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from passlib.hash import sha512_crypt
from pydantic import Field, SecretStr, field_validator

from nodeagent.protocol import host, identity, storage, words
from nodeagent.protocol.storage import VolumeRef
from panel.accounts.models import SshKey
from panel.core.errors import OperationFailed
from panel.core.wording import Text
from panel.images.models import Customization, Image, Iso
from panel.storage.models import Volume
from panel.tasks.operation import Params
from panel.tasks.requirements import demand
from panel.vms import waiting
from panel.vms.context import VmContext
from panel.vms.models import Vm
from panel.vms.requirements import NOT_ELSEWHERE
from panel.vms.spec import guest_identity

UPLOAD_SECONDS = 3600.0
COMMIT_SECONDS = 600.0
COPY_SECONDS = 3600.0
SHA512_ROUNDS = 5000
"""crypt(3)'s own default; more would hold up the worker for no one's gain, since the hash stays in the guest."""


class AccessParams(Params):
    """How to get into a guest."""

    password: SecretStr | None = Field(default=None, description="Password of the image's login.")
    ssh_keys: list[str] = Field(default_factory=list, max_length=50)

    @field_validator("ssh_keys")
    @classmethod
    def _public_keys(cls, value: list[str]) -> list[str]:
        return check_keys(value)

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        return check_password(value)


def check_keys(value: list[str]) -> list[str]:
    """Refuse what is no public key for the agent; raises ValueError."""
    if not all(words.is_public_key(key) for key in value):
        raise ValueError("each must be one public key, as in authorized_keys, of printable characters and no tabs")
    return value


def check_password(value: SecretStr | None) -> SecretStr | None:
    """Refuse a guest's password of an unfit length, and what crypt(3) does not take; raises ValueError."""
    if value is not None and not 8 <= len(value.get_secret_value()) <= 128:
        raise ValueError("must have 8 to 128 characters")
    if value is not None and "\0" in value.get_secret_value():
        raise ValueError("must not have the character NUL in it")
    return value


def hash_of(password: SecretStr | None) -> str:
    """A guest's password as a crypt(3) hash; empty for none."""
    return sha512_crypt.using(rounds=SHA512_ROUNDS).hash(password.get_secret_value()) if password else ""


P = TypeVar("P", bound=AccessParams)


@dataclass(frozen=True)
class Target:
    """Which image goes to which volume, where the seed is, and as what instance the guest is told of itself.

    With `iso` in place of an image the volume stays empty: an installer that the VM starts from fills it.
    """

    image: Image | None
    volume: Volume
    seed: VolumeRef
    instance_id: str
    iso: Iso | None = None

    @property
    def source(self) -> Image | Iso | None:
        """Whose file the node needs."""
        return self.image or self.iso


class DeployContext(VmContext[P]):
    """What the steps here work on."""

    @property
    def kept_seed(self) -> VolumeRef | None:
        """A seed whose password and keys stay where no others are asked for."""
        return None

    def find_target(self) -> Target | None:
        """Where the system goes, or None when its records are gone."""
        vm = self.find_vm()
        disk = vm.disks.select_related("volume__pool").first() if vm is not None else None
        if vm is None or disk is None:
            return None
        iso = vm.iso if vm.image is None else None
        return Target(vm.image, disk.volume, vm.seed_ref, str(vm.uuid), iso)

    @property
    def target(self) -> Target:
        """Where the system goes; raises OperationFailed when its records are gone."""
        target = self.find_target()
        if target is None:
            raise OperationFailed("The records of the new system are gone.", step=self.step_name)
        return target

    @property
    def target_image(self) -> Image:
        """The image; raises OperationFailed when it was removed."""
        image = self.target.image
        if image is None:
            raise OperationFailed("The image was removed from the panel meanwhile.", step=self.step_name)
        return image


def place_image(ctx: DeployContext[Any]) -> dict[str, Any]:
    """The node has its own copy of the image or ISO image, checked against its SHA-256.

    Two deployments that need the same image at the same time each send it, to a file of their own.
    """
    return {"sent": bring_file(ctx, ctx.target.iso or ctx.target_image)}


def bring_file(ctx: VmContext[Any], file: Image | Iso) -> bool:
    """The node has its own copy of an image or ISO image; answers whether it had to be sent."""
    store, task = ctx.vm.pool.store, ctx.task.pk
    state = ctx.agent.call(storage.ImageStatus(store=store, sha256=file.sha256, task=task))
    if state.present:
        return False
    ctx.log(
        Text(
            "The node has no copy of “{file}” yet: sending {size_mib} MiB.",
            {"file": file.name, "size_mib": file.size_bytes >> 20},
        )
    )
    ctx.agent.call(storage.UploadBegin(store=store, sha256=file.sha256, task=task))
    ctx.agent.upload(file.path, state.upload_path, deadline=UPLOAD_SECONDS)
    ctx.agent.call(storage.ImageCommit(store=store, sha256=file.sha256, task=task), deadline=COMMIT_SECONDS)
    return True


def delete_upload(ctx: DeployContext[Any]) -> None:
    """What this task sent of the image and did not finish is gone; a finished copy serves every later VM."""
    target = ctx.find_target()
    if "sent" in ctx.output(place_image):
        # It was put in place, or was there before.
        return
    if target is not None and target.source is not None:
        store = ctx.vm.pool.store
        ctx.agent.call(storage.UploadDelete(store=store, sha256=target.source.sha256, task=ctx.task.pk))


def copy_image(ctx: DeployContext[Any]) -> None:
    """The volume is a copy of the image; where an ISO image is to be installed from, it is empty."""
    volume = ctx.target.volume
    if ctx.target.iso is not None:
        ctx.agent.call(storage.VolumeCreate(volume.ref, volume.size_bytes, volume.format))
        return
    ctx.agent.call(
        storage.VolumeCopy(
            volume.ref,
            store=ctx.vm.pool.store,
            image_sha256=ctx.target_image.sha256,
            format=volume.format,
            image_format=ctx.target_image.format,
        ),
        deadline=COPY_SECONDS,
    )


def delete_copy(ctx: DeployContext[Any]) -> None:
    """The volume is not on the node, finished or not."""
    if (target := ctx.find_target()) is not None:
        ctx.agent.call(storage.VolumeDelete(target.volume.ref))


def grow_disk(ctx: DeployContext[Any]) -> None:
    """The volume is as large as was asked for; the guest grows its file system at its first start."""
    volume = ctx.target.volume
    ctx.agent.call(storage.VolumeGrow(volume.ref, volume.size_bytes, volume.format))


def customize_guest(ctx: DeployContext[Any]) -> None:
    """The guest will find out who it is: from a seed, or from its own files where the image has no cloud-init.

    An installer asks whoever sits before it.
    """
    if ctx.target.iso is not None:
        return
    vm, target, image = ctx.vm, ctx.target, ctx.target_image
    theirs = SshKey.objects.filter(user=vm.owner).values_list("public_key", flat=True)
    keys = [*ctx.params.ssh_keys, *map(words.bare_key, theirs)]
    guest = guest_identity(
        vm, image.login, password_hash=hash_of(ctx.params.password), ssh_keys=list(dict.fromkeys(keys))
    )
    if image.customization == Customization.CLOUD_INIT:
        keep_keys = not ctx.params.ssh_keys
        ctx.agent.call(identity.SeedCreate(target.seed, target.instance_id, guest, ctx.kept_seed, keep_keys=keep_keys))
        return
    volume = target.volume
    ctx.agent.call(identity.VolumeCustomize(volume.ref, guest, format=volume.format), deadline=600.0)


def delete_seed(ctx: DeployContext[Any]) -> None:
    """The seed is not on the node."""
    if (target := ctx.find_target()) is not None:
        ctx.agent.call(identity.SeedDelete(target.seed))


def start_domain(ctx: VmContext[Any]) -> None:
    """The domain runs."""
    # Asked again: a copy may have shown itself since the task was asked for.
    demand(ctx.look_again(), NOT_ELSEWHERE)
    ctx.read_state(host.HostStart(uuid=str(ctx.vm.uuid)))


def stop_domain(ctx: VmContext[Any]) -> None:
    """The domain does not run."""
    if (vm := ctx.find_vm()) is not None:
        ctx.read_state(host.HostStop(uuid=str(vm.uuid)))


def wait_for_guest(ctx: DeployContext[Any]) -> dict[str, Any]:
    """The guest answers on its address, and the VM counts as installed; an installer is not waited for."""
    if ctx.target.iso is not None:
        Vm.objects.filter(pk=ctx.vm.pk).update(installed=True)
        return {}
    seconds = waiting.reach(ctx, ctx.target_image.reachable_port)
    Vm.objects.filter(pk=ctx.vm.pk).update(installed=True)
    return {"seconds": seconds}
