"""vm.create: deployment of a VM from an OS image, or with an installer in its drive."""

from __future__ import annotations

import re
from typing import Any

from django.db import transaction
from pydantic import Field, field_validator

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.cluster.models import Node
from panel.cluster.placement import Choice, Need, choose
from panel.cluster.selectors import default_cluster
from panel.core import permissions
from panel.core.errors import CapacityError, InvalidValue, MissingValue, NotFound
from panel.core.wording import Text
from panel.images.models import Customization, Flavor, Image, Iso
from panel.images.selectors import flavor_named, image_named, iso_for
from panel.network import services as network_services
from panel.network.models import Network
from panel.network.ranges import Taker, free_by_version
from panel.network.security import groups_named
from panel.network.selectors import given_versions
from panel.storage.models import Pool
from panel.storage.selectors import pool_named
from panel.storage.services import new_volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Step
from panel.vms.addresses import WantedAddress, hold, network_for, refuse_unreached, told_of
from panel.vms.context import VmContext
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits
from panel.vms.machine import LARGEST_KIBPS, SPEEDS
from panel.vms.models import Disk, Installation, Interface, Vm, VmStatus, Wanted
from panel.vms.operations import deploying
from panel.vms.operations.answering import find_answering_node
from panel.vms.operations.deploying import (
    AccessParams,
    DeployContext,
    copy_image,
    customize_guest,
    delete_copy,
    delete_seed,
    delete_upload,
    grow_disk,
    start_domain,
    stop_domain,
    wait_for_guest,
)
from panel.vms.operations.removing import release_records, undefine_domain
from panel.vms.placing import candidates, hold_promises, promise_of
from panel.vms.security import MOST_ON_INTERFACE
from panel.vms.services import refuse_taken_name, refuse_unfit_owner
from panel.vms.settings import OF_THE_HOST, Settings, check_settings, emulates, require_rights
from panel.vms.spec import domain_spec
from panel.vms.status import tell_pages
from panel.vms.usage import note_shape

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
GIB = 1024**3


def check_name(value: str) -> str:
    """Refuse what cannot be a VM's name, which is its guest's host name too; raises ValueError."""
    if not HOST_NAME.match(value):
        raise ValueError("use a-z, 0-9 and hyphens, beginning and ending with a letter or digit")
    return value


class CreateVmParams(AccessParams, WantedAddress, Settings):
    """What is asked for: an image or ISO image, a size (a flavor, or single values that override it), access.

    All that vm.configure changes can be asked for at once.
    """

    name: str = Field(max_length=63, description="Host name: a-z, 0-9 and hyphens.")
    image: str | None = Field(default=None, max_length=64, description="Name of an OS image.")
    iso: str | None = Field(
        default=None,
        max_length=64,
        description="In place of an OS image: name of an ISO image, of all or of the owner's, to start from with an "
        "empty disk. When its installer powers the guest off or reboots, it is ejected and the disk started from.",
    )
    flavor: str | None = Field(default=None, max_length=64, description="Name of a flavor, for its size.")
    disk_gib: int | None = Field(default=None, ge=1, le=64 * 1024)
    node: str | None = Field(default=None, max_length=64, description="Name of a node; none: chosen.")
    network: str | None = Field(default=None, max_length=64, description="Name of a network; none: the first.")
    address: str | None = Field(
        default=None, max_length=45, description="A free address of the network's ranges; none: the first free one."
    )
    security_groups: list[str] = Field(
        default=[],
        max_length=MOST_ON_INTERFACE,
        description="Names of the owner's security groups that its interface has; none: as is usual.",
    )
    inbound_kibps: int = Field(
        default=0, ge=0, le=LARGEST_KIBPS, description="KiB a second that its interface may receive; 0: no limit."
    )
    outbound_kibps: int = Field(default=0, ge=0, le=LARGEST_KIBPS, description="The same for what it may send.")
    pool: str | None = Field(default=None, max_length=64, description="Name of a pool; none: the first that has room.")
    owner: str | None = Field(
        default=None, max_length=64, description="Name of the user whom it belongs to; none: whoever asks."
    )

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return check_name(value)


class CreateVmContext(DeployContext[CreateVmParams]):
    """What the request's names mean; looked up once."""

    def resolve(self) -> None:
        """Turn names into rows and sizes; raises NotFound, MissingValue, InvalidValue naming the field."""
        asked = self.params
        self.cluster = default_cluster()
        if asked.image and asked.iso:
            raise InvalidValue("A VM is made from an image or an ISO image, not from both.", field="iso")
        if not asked.image and not asked.iso:
            raise MissingValue("Name an image, or an ISO image.", field="image")
        self.image: Image | None = image_named(asked.image) if asked.image else None
        self.iso: Iso | None = iso_for(self.owner, asked.iso) if asked.iso else None
        flavor: Flavor | None = flavor_named(asked.flavor) if asked.flavor else None
        self.memory_mib = self._size("memory_mib", flavor)
        self.vcpus = self._size("vcpus", flavor)
        self.disk_gib = self._size("disk_gib", flavor)
        self.settings = {**asked.asked(), "memory_mib": self.memory_mib, "vcpus": self.vcpus}
        self.wanted = Vm(cluster=self.cluster, image=self.image, **self.settings)
        self.network: Network = network_for(self.cluster, asked, self.taker())
        self.pool: Pool = pool_named(self.cluster, asked.pool)
        self.pools = [self.pool] if asked.pool else list(Pool.objects.filter(cluster=self.cluster).order_by("pk"))

    def _size(self, field: str, flavor: Flavor | None) -> int:
        value = getattr(self.params, field)
        if value is None and flavor is not None:
            value = getattr(flavor, field)
        if value is None:
            raise MissingValue(Text("“{field}” is required where no flavor is named.", {"field": field}), field=field)
        return int(value)

    @property
    def owner(self) -> User:
        """Whom the VM will belong to; raises NotFound."""
        owner = user_named(self.params.owner) if self.params.owner else self.task.created_by
        assert owner is not None
        return owner

    def taker(self, node: Node | None = None) -> Taker:
        """For whom its addresses are; on a node, when that is chosen."""
        asked = self.params
        return Taker(self.owner.pk, node.pk if node else None, asked.flavor or "", asked.purpose or "")

    @property
    def disk_bytes(self) -> int:
        """What it takes of the pool to begin with."""
        if self.image is not None:
            return self.image.virtual_bytes
        return self.iso.size_bytes if self.iso is not None else 0

    @property
    def resources(self) -> Resources:
        """What the VM takes of its owner's limits."""
        return Resources(1, self.memory_mib, self.vcpus, self.disk_gib, len(given_versions(self.network, self.taker())))

    def _no_address(self, node: Node) -> Text | None:
        """Why the VM cannot have an address on the node, for ranges may be a node's; None where it can."""
        if not any(pool.node_id for pool in self.network.ranges) or self.params.address is not None:
            return None
        free = free_by_version(self.network, self.taker(node))
        if free and all(count > 0 for count in free.values()):
            return None
        return Text("no address of the network “{network}” is free there", {"network": self.network.name})

    def choose_node(self) -> Choice:
        """The node that takes the VM, and why; `pool` is the first of those that may be with room on one of them.

        Raises CapacityError, with what speaks against the first pool, or NotFound.
        """
        nodes = Node.objects.filter(cluster=self.cluster).select_related("cluster")
        if self.params.node:
            nodes = nodes.filter(name=self.params.node)
            if not nodes:
                raise NotFound(object="node", id=self.params.node, field="node")
        if self.wanted.cpu_mode in OF_THE_HOST and not (nodes := nodes.filter(accel="kvm")):
            raise emulates()
        cpus = max(self.vcpus, self.wanted.max_vcpus)
        need = Need(promise_of(self.wanted), self.disk_bytes, cpus, self.disk_gib * GIB)
        refusals: list[CapacityError] = []
        for pool in self.pools:
            try:
                choice = choose(candidates(nodes, pool, [self.network], self._no_address), need)
            except CapacityError as refusal:
                refusals.append(refusal)
            else:
                self.pool = pool
                return choice
        raise refusals[0]


def reserve_records(ctx: CreateVmContext) -> dict[str, Any]:
    """The VM, its volume and its address stand in the database; nothing is on a node yet."""
    hold_promises(ctx.cluster.pk)
    refuse_taken_name(ctx.cluster, ctx.params.name)
    choice = ctx.choose_node()
    node = choice.node
    owner = ctx.task.owner = ctx.owner
    require_within_limits(owner, ctx.resources)
    vm = Vm.objects.create(
        name=ctx.params.name,
        cluster=ctx.cluster,
        node=node,
        owner=owner,
        image=ctx.image,
        iso=ctx.iso,
        boot_iso=ctx.iso is not None,
        pool=ctx.pool,
        **ctx.settings,
        wanted=Wanted.RUNNING,
        status=VmStatus.SHUT_OFF,
    )
    volume = new_volume(ctx.pool, node, format=ctx.pool.volume_format, size_gib=ctx.disk_gib)
    Disk.objects.create(vm=vm, volume=volume)
    if ctx.iso is not None:
        Installation.objects.create(vm=vm)
    taken = network_services.allocate(ctx.network, ctx.params.address, ctx.taker(node))
    limits = ctx.params.model_dump(include=set(SPEEDS))
    interface = Interface.objects.create(vm=vm, network=ctx.network, mac=network_services.new_mac(), **limits)
    hold(interface, taken)
    interface.security_groups.set(groups_named(ctx.owner, ctx.params.security_groups, "security_groups"))
    note_shape(vm.pk)
    ctx.set_object("vm", vm.pk, vm.name)
    ctx.set_node(node.pk)
    transaction.on_commit(lambda: tell_pages([vm]))
    result = {"vm": vm.pk, "uuid": str(vm.uuid), "node": node.name, **told_of(taken)}
    return {"result": result, "placement": choice.told}


def place_image(ctx: CreateVmContext) -> dict[str, Any]:
    """The node, or another one where it does not answer, has its own copy of the image or ISO image."""
    find_answering_node(ctx)
    return {**deploying.place_image(ctx), "result": {"node": ctx.vm.node.name}}


def define_domain(ctx: VmContext[Any]) -> None:
    """The node's libvirt has the domain, shut off."""
    ctx.agent.call(host.HostCreate(spec=domain_spec(ctx.vm)))


def brought(ctx: CreateVmContext) -> Text:
    """What the node has to have of what the VM is made from, for a plan."""
    if ctx.image is None:
        return Text("ISO image “{image}”, if the node has no copy", {"image": ctx.params.iso})
    return Text("image “{image}”, if the node has no copy", {"image": ctx.image.name})


def filled(ctx: CreateVmContext) -> Text:
    """Its disk and what that begins with, for a plan."""
    if ctx.image is None:
        return Text("volume in “{pool}”, empty", {"pool": ctx.pool.name})
    return Text("volume in “{pool}”, from “{image}”", {"pool": ctx.pool.name, "image": ctx.image.name})


def told_by(ctx: CreateVmContext) -> Text:
    """How its guest learns who it is, for a plan."""
    if ctx.image is None:
        return Text("nothing: the installer asks")
    return Text("host name, network, keys and password by {means}", {"means": ctx.image.customization})


def reserved(ctx: CreateVmContext) -> Text:
    """What is held for it, for a plan."""
    names = {"vm": ctx.params.name, "target_node": ctx.choose_node().node.name, "network": ctx.network.name}
    return Text("VM “{vm}” on “{target_node}” with an address of “{network}”", names)


def answers(ctx: CreateVmContext) -> Text:
    """What of its guest is waited for, for a plan."""
    return Text("on its address" if ctx.image else "nothing: the installer is left to itself")


def refuse_access(asked: CreateVmParams) -> None:
    """Raise InvalidValue for what nobody can put into a guest that is yet to be installed."""
    for field in ("password", "ssh_keys"):
        if getattr(asked, field):
            raise InvalidValue("The installer asks for passwords and keys itself.", field=field)


def refuse_unfit(ctx: CreateVmContext, image: Image) -> None:
    """Raise InvalidValue for sizes that the image does not fit, MissingValue for a guest that nobody could enter."""
    smallest = max(image.min_disk_gib, -(-image.virtual_bytes // GIB))
    if ctx.disk_gib < smallest:
        raise InvalidValue(
            Text("“{image}” needs a disk of at least {disk_gib} GiB.", {"image": image.title, "disk_gib": smallest}),
            field="disk_gib",
            minimum=smallest,
        )
    if image.customization == Customization.VIRT_CUSTOMIZE and not (ctx.params.password or ctx.params.ssh_keys):
        raise MissingValue("This image needs a password or an ssh key.", field="password")


SIZE = "{cpus} CPUs, {memory_mib} MiB of memory"


class CreateVm(Operation[CreateVmParams]):
    """Create a VM from an OS image and leave it running and reachable; or leave it running an installer."""

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
            describe=reserved,
        ),
        Step(
            place_image,
            "Send the image to the node",
            undo=delete_upload,
            weight=5,
            describe=brought,
        ),
        Step(
            copy_image,
            "Copy the image",
            undo=delete_copy,
            weight=10,
            describe=filled,
        ),
        # No undo: the volume goes as a whole.
        Step(grow_disk, "Grow the disk", describe=lambda ctx: Text("to {size_gib} GiB", {"size_gib": ctx.disk_gib})),
        Step(
            customize_guest,
            "Prepare the guest's settings",
            undo=delete_seed,
            weight=2,
            ends_secrets=True,
            describe=told_by,
        ),
        Step(
            define_domain,
            "Define the domain",
            undo=undefine_domain,
            describe=lambda ctx: Text(SIZE, {"cpus": ctx.vcpus, "memory_mib": ctx.memory_mib}),
        ),
        Step(start_domain, "Start the VM", undo=stop_domain, weight=2),
        # No undo: waiting changes nothing.
        Step(
            wait_for_guest,
            "Wait until the guest answers",
            weight=20,
            describe=answers,
        ),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Create VM {vm}", {"vm": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse unknown names, a taken name or address, too small sizes, and what no node has room for."""
        if ctx.params.owner not in (None, viewer.name):
            permissions.require(viewer, "vms.assign")
            refuse_unfit_owner(user_named(ctx.params.owner))
        ctx.resolve()
        if ctx.params.node and not permissions.allows(viewer, "cluster.view"):
            raise NotFound(object="node", id=ctx.params.node, field="node")
        require_rights(viewer, ctx.settings, Vm())
        if any(ctx.params.model_dump(include=set(SPEEDS)).values()):
            # As vm.change-interface has it.
            permissions.require(viewer, "cluster.manage")
        refuse_taken_name(ctx.cluster, ctx.params.name)
        groups_named(ctx.owner, ctx.params.security_groups, "security_groups")
        check_settings(ctx.wanted, ctx.settings)
        if ctx.image is None:
            refuse_access(ctx.params)
        else:
            refuse_unfit(ctx, ctx.image)
            refuse_unreached(ctx.network, ctx.taker())
        refuse_over_limits(ctx.owner, ctx.resources)
        network_services.refuse_full(ctx.network, ctx.params.address, ctx.taker())
        ctx.choose_node()
