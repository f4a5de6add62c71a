"""vm.create: deployment of a VM from an OS image."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.db import transaction
from passlib.hash import sha512_crypt
from pydantic import Field, SecretStr, field_validator

from nodeagent.protocol import host, storage
from panel.accounts.models import SshKey, User
from panel.cluster.models import Cluster, Node
from panel.cluster.nodes import client
from panel.cluster.placement import Candidate, Need, choose
from panel.cluster.selectors import default_cluster
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue, MissingValue, NotFound, OperationFailed
from panel.images.models import Customization, Flavor, Image
from panel.images.selectors import flavor_named, image_named
from panel.network import services as network_services
from panel.network.models import Address, Network
from panel.network.selectors import free_count, network_named
from panel.notices.services import close_problems_of
from panel.storage.models import NodePool, Pool, Volume
from panel.storage.selectors import pool_named
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms.context import VmContext
from panel.vms.models import Disk, Interface, Vm, VmStatus, Wanted
from panel.vms.selectors import promised_mib
from panel.vms.spec import guest_identity, host_spec, uses_seed
from panel.vms.status import tell_gone, tell_pages

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
SSH_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\r\n]*)?\Z")
GIB = 1024**3
UPLOAD_SECONDS = 3600.0
COPY_SECONDS = 3600.0
SHA512_ROUNDS = 5000
"""crypt(3)'s own default; more would hold up the worker for no one's gain, since the hash stays in the guest."""


class CreateVmParams(Params):
    """What is asked for: an image, a size (a flavor, or single values that override it), access."""

    name: str = Field(max_length=63, description="Host name: a-z, 0-9 and hyphens.")
    image: str = Field(max_length=64, description="Name of an OS image.")
    flavor: str | None = Field(default=None, max_length=64, description="Name of a flavor.")
    memory_mib: int | None = Field(default=None, ge=64, le=4 * 1024 * 1024)
    vcpus: int | None = Field(default=None, ge=1, le=512)
    disk_gib: int | None = Field(default=None, ge=1, le=64 * 1024)
    node: str | None = Field(default=None, max_length=64, description="Name of a node; none: chosen.")
    network: str | None = Field(default=None, max_length=64, description="Name of a network; none: the first.")
    pool: str | None = Field(default=None, max_length=64, description="Name of a pool; none: the first.")
    password: SecretStr | None = Field(default=None, description="Password of the image's login.")
    ssh_keys: list[str] = Field(default_factory=list, max_length=50)

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        if not HOST_NAME.match(value):
            raise ValueError("use a-z, 0-9 and hyphens, beginning and ending with a letter or digit")
        return value

    @field_validator("ssh_keys")
    @classmethod
    def _public_keys(cls, value: list[str]) -> list[str]:
        if not all(SSH_KEY.match(key) for key in value):
            raise ValueError("each must be one public key, as in authorized_keys")
        return value

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not 8 <= len(value.get_secret_value()) <= 128:
            raise ValueError("must have 8 to 128 characters")
        return value


class CreateVmContext(VmContext[CreateVmParams]):
    """What the request's names mean; looked up once."""

    def resolve(self) -> None:
        """Turn names into rows and sizes; raises NotFound, MissingValue naming the field."""
        asked = self.params
        self.cluster = default_cluster()
        self.image: Image = image_named(asked.image)
        flavor: Flavor | None = flavor_named(asked.flavor) if asked.flavor else None
        self.memory_mib = self._size("memory_mib", flavor)
        self.vcpus = self._size("vcpus", flavor)
        self.disk_gib = self._size("disk_gib", flavor)
        self.network: Network = network_named(self.cluster, asked.network)
        self.pool: Pool = pool_named(self.cluster, asked.pool)

    def _size(self, field: str, flavor: Flavor | None) -> int:
        value = getattr(self.params, field)
        if value is None and flavor is not None:
            value = getattr(flavor, field)
        if value is None:
            raise MissingValue(f"“{field}” is required where no flavor is named.", field=field)
        return int(value)

    def refuse_taken_name(self) -> None:
        """Raise AlreadyExists when the cluster has a VM of the wanted name."""
        if Vm.objects.filter(cluster=self.cluster, name=self.params.name).exists():
            raise AlreadyExists("Another VM has this name.", field="name", object="VM")

    def choose_node(self) -> Node:
        """The node that takes the VM; raises CapacityError or NotFound."""
        nodes = Node.objects.filter(cluster=self.cluster).select_related("cluster")
        if self.params.node:
            nodes = nodes.filter(name=self.params.node)
            if not nodes:
                raise NotFound(object="node", id=self.params.node, field="node")
        free = dict(NodePool.objects.filter(pool=self.pool).values_list("node_id", "free_bytes"))
        need = Need(self.memory_mib, self.image.virtual_bytes, self.vcpus)
        return choose([Candidate(node, promised_mib(node), free.get(node.pk)) for node in nodes], need)


def reserve_records(ctx: CreateVmContext) -> dict[str, Any]:
    """The VM, its volume and its address stand in the database; nothing is on a node yet."""
    # One reservation at a time in a cluster: what was free at the check may be promised by now.
    Cluster.objects.select_for_update().get(pk=ctx.cluster.pk)
    ctx.refuse_taken_name()
    node = ctx.choose_node()
    owner = ctx.task.created_by
    assert owner is not None
    vm = Vm.objects.create(
        name=ctx.params.name,
        cluster=ctx.cluster,
        node=node,
        owner=owner,
        image=ctx.image,
        pool=ctx.pool,
        memory_mib=ctx.memory_mib,
        vcpus=ctx.vcpus,
        wanted=Wanted.RUNNING,
        status=VmStatus.SHUT_OFF,
    )
    volume = Volume.objects.create(pool=ctx.pool, node=node, format=ctx.pool.volume_format, size_gib=ctx.disk_gib)
    Disk.objects.create(vm=vm, volume=volume)
    address = network_services.allocate(ctx.network)
    Interface.objects.create(vm=vm, network=ctx.network, address=address, mac=network_services.new_mac())
    ctx.set_object("vm", vm.pk, vm.name)
    ctx.set_node(node.pk)
    transaction.on_commit(lambda: tell_pages([vm]))
    return {"result": {"vm": vm.pk, "uuid": str(vm.uuid), "node": node.name, "address": address.ip}}


def release_records(ctx: VmContext[Any]) -> None:
    """Nothing of the VM stands in the database; its address is free again."""
    vm = ctx.find_vm()
    if vm is None:
        return
    with transaction.atomic():
        # Held, so that no observation adds to its history while it goes.
        if not Vm.objects.select_for_update().filter(pk=vm.pk).exists():
            return
        volumes = list(vm.disks.values_list("volume_id", flat=True))
        addresses = list(vm.interfaces.values_list("address_id", flat=True))
        vm.delete()
        close_problems_of("vm", ctx.task.object_id or 0)
        Volume.objects.filter(pk__in=volumes).delete()
        Address.objects.filter(pk__in=addresses).delete()
        vm.pk = ctx.task.object_id
        transaction.on_commit(lambda: tell_gone(vm))


def place_image(ctx: CreateVmContext) -> dict[str, Any]:
    """The node has its own copy of the image, checked against its SHA-256.

    Two deployments that need the same image at the same time each send it, to a file of their own.
    """
    image, pool, task = _image(ctx), ctx.vm.pool.path, ctx.task.pk
    state = ctx.agent.call(storage.ImageStatus(pool=pool, sha256=image.sha256, task=task))
    if state.present:
        return {"sent": False}
    ctx.log(f"The node has no copy of “{image.name}” yet: sending {image.size_bytes >> 20} MiB.")
    client(ctx.vm.node).upload(
        image.path,
        state.upload_path,
        deadline=UPLOAD_SECONDS,
        progress=lambda done: ctx.progress(done.done / max(done.total, 1), done.text),
    )
    ctx.agent.call(storage.ImageCommit(pool=pool, sha256=image.sha256, task=task), deadline=600.0)
    return {"sent": True}


def delete_upload(ctx: VmContext[Any]) -> None:
    """What this task sent of the image and did not finish is gone; a finished copy serves every later VM."""
    vm = ctx.find_vm()
    if vm is not None and vm.image is not None:
        ctx.agent.call(storage.UploadDelete(pool=vm.pool.path, sha256=vm.image.sha256, task=ctx.task.pk))


def copy_image(ctx: CreateVmContext) -> None:
    """The VM's volume is a copy of the image."""
    for volume in _volumes(ctx):
        ctx.agent.call(
            storage.VolumeCopy(
                pool=volume.pool.path, path=volume.path, image_sha256=_image(ctx).sha256, format=volume.format
            ),
            deadline=COPY_SECONDS,
        )


def delete_volumes(ctx: VmContext[Any]) -> None:
    """None of the VM's volumes is on the node, finished or not."""
    if ctx.find_vm() is not None:
        for volume in _volumes(ctx):
            ctx.agent.call(storage.VolumeDelete(pool=volume.pool.path, path=volume.path))


def grow_disk(ctx: CreateVmContext) -> None:
    """The volume is as large as was asked for; the guest grows its file system at its first start."""
    for volume in _volumes(ctx):
        ctx.agent.call(storage.VolumeGrow(pool=volume.pool.path, path=volume.path, size_bytes=volume.size_bytes))


def customize_guest(ctx: CreateVmContext) -> None:
    """The guest will find out who it is: from a seed, or from its own files where the image has no cloud-init."""
    vm, password = ctx.vm, ctx.params.password
    password_hash = ""
    if password is not None:
        password_hash = sha512_crypt.using(rounds=SHA512_ROUNDS).hash(password.get_secret_value())
    keys = [*ctx.params.ssh_keys, *SshKey.objects.filter(user=vm.owner).values_list("public_key", flat=True)]
    guest = guest_identity(vm, password_hash=password_hash, ssh_keys=list(dict.fromkeys(keys)))
    pool = vm.pool.path
    if uses_seed(vm):
        ctx.agent.call(storage.SeedCreate(pool=pool, path=vm.seed_path, instance_id=str(vm.uuid), guest=guest))
        return
    for volume in _volumes(ctx):
        ctx.agent.call(storage.VolumeCustomize(pool=pool, path=volume.path, guest=guest), deadline=600.0)


def delete_seed(ctx: VmContext[Any]) -> None:
    """The VM's seed is not on the node."""
    if (vm := ctx.find_vm()) is not None:
        ctx.agent.call(storage.SeedDelete(pool=vm.pool.path, path=vm.seed_path))


def define_domain(ctx: CreateVmContext) -> None:
    """The node's libvirt has the domain, shut off."""
    ctx.agent.call(host.HostCreate(spec=host_spec(ctx.vm)))


def undefine_domain(ctx: VmContext[Any]) -> None:
    """The node's libvirt does not have the domain, and it does not run."""
    if (vm := ctx.find_vm()) is not None:
        ctx.agent.call(host.HostStop(uuid=str(vm.uuid)))
        ctx.agent.call(host.HostDelete(uuid=str(vm.uuid)))


def start_domain(ctx: CreateVmContext) -> None:
    """The domain runs."""
    ctx.read_state(host.HostStart(uuid=str(ctx.vm.uuid)))


def stop_domain(ctx: VmContext[Any]) -> None:
    """The domain does not run."""
    if (vm := ctx.find_vm()) is not None:
        ctx.agent.call(host.HostStop(uuid=str(vm.uuid)))


def wait_for_guest(ctx: CreateVmContext) -> dict[str, Any]:
    """The guest answers on its address, and the VM counts as installed."""
    vm = ctx.vm
    limit = settings.CONFIG.guest_reachable_seconds
    interface = vm.interfaces.select_related("address").get(position=0)
    reached = ctx.agent.call(
        host.GuestWait(
            uuid=str(vm.uuid),
            address=interface.address.ip,
            port=_image(ctx).reachable_port,
            timeout_seconds=float(limit),
        ),
        deadline=limit + 30.0,
    )
    Vm.objects.filter(pk=vm.pk).update(installed=True)
    return {"seconds": round(reached.seconds, 1)}


def _image(ctx: CreateVmContext) -> Image:
    image = ctx.vm.image
    if image is None:
        raise OperationFailed("The image was removed from the panel meanwhile.", step=ctx.step_name)
    return image


def _volumes(ctx: VmContext[Any]) -> list[Volume]:
    return [disk.volume for disk in ctx.vm.disks.select_related("volume__pool")]


class CreateVm(Operation[CreateVmParams]):
    """Create a VM from an OS image and leave it running and reachable."""

    name = "vm.create"
    label = "Create"
    permission = "vms.create"
    params = CreateVmParams
    context = CreateVmContext
    creates = True
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(
            reserve_records,
            "Reserve the name, the disk and an address",
            undo=release_records,
            inline=True,
            describe=lambda ctx: f"VM “{ctx.params.name}” with an address of “{ctx.network.name}”",
        ),
        Step(
            place_image,
            "Send the image to the node",
            undo=delete_upload,
            weight=5,
            describe=lambda ctx: f"image “{ctx.image.name}”, if the node has no copy",
        ),
        Step(
            copy_image,
            "Copy the image",
            undo=delete_volumes,
            weight=10,
            describe=lambda ctx: f"volume in “{ctx.pool.name}” from “{ctx.image.name}”",
        ),
        # No undo: the volume goes as a whole.
        Step(grow_disk, "Grow the disk", describe=lambda ctx: f"to {ctx.disk_gib} GiB"),
        Step(
            customize_guest,
            "Prepare the guest's settings",
            undo=delete_seed,
            weight=2,
            describe=lambda ctx: f"host name, network, keys and password by {ctx.image.customization}",
        ),
        Step(
            define_domain,
            "Define the domain",
            undo=undefine_domain,
            describe=lambda ctx: f"{ctx.vcpus} CPUs, {ctx.memory_mib} MiB of memory",
        ),
        Step(start_domain, "Start the VM", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing.
        Step(wait_for_guest, "Wait until the guest answers", weight=20),
    )

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Create VM {ctx.params.name}"

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse unknown names, a taken name, too small sizes, and what no node has room for."""
        ctx.resolve()
        ctx.refuse_taken_name()
        if ctx.memory_mib < ctx.image.min_memory_mib:
            raise InvalidValue(
                f"“{ctx.image.title}” needs at least {ctx.image.min_memory_mib} MiB of memory.",
                field="memory_mib",
                minimum=ctx.image.min_memory_mib,
            )
        smallest = max(ctx.image.min_disk_gib, -(-ctx.image.virtual_bytes // GIB))
        if ctx.disk_gib < smallest:
            raise InvalidValue(
                f"“{ctx.image.title}” needs a disk of at least {smallest} GiB.", field="disk_gib", minimum=smallest
            )
        if ctx.image.customization == Customization.VIRT_CUSTOMIZE and not (ctx.params.password or ctx.params.ssh_keys):
            raise MissingValue("This image needs a password or an ssh key.", field="password")
        if free_count(ctx.network) < 1:
            raise CapacityError(
                f"The network “{ctx.network.name}” has no free address.", field="network", candidates={}
            )
        ctx.choose_node()
