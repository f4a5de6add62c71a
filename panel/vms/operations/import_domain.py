"""vm.take-over: a domain that the panel does not know becomes a VM, with its disks and addresses, as it runs.

Nothing of the domain is changed but its name, where another is asked for. What the panel would describe
otherwise is shown as drift afterwards, and in the plan before; what it cannot describe at all is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from pydantic import Field, field_validator

from nodeagent import storage as storages
from nodeagent.protocol import from_dict, guest, host, storage
from nodeagent.protocol.audit import UnmanagedDetails
from nodeagent.protocol.host import DiskSpec, InterfaceSpec
from nodeagent.xml.describe import domain_of
from nodeagent.xml.facts import Facts, facts_of
from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.cluster.models import Node
from panel.core.errors import AlreadyExists, InvalidValue, MissingValue, NotFound, OperationFailed, WrongState
from panel.core.wording import Text, joined
from panel.network import services as network_services
from panel.network.models import Network
from panel.storage.models import Pool, Volume
from panel.storage.selectors import pool_named
from panel.storage.services import new_volume
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import services
from panel.vms.addresses import hold
from panel.vms.audit import AUDIT_SECONDS, audit_vm
from panel.vms.context import VmContext
from panel.vms.limits import Resources, disk_gib_of, refuse_over_limits, require_within_limits
from panel.vms.models import ON, Disk, DiskBus, DiskCache, Interface, UnmanagedDomain, Vm, VmStatus, Wanted
from panel.vms.operations.change_owner import refuse_owner
from panel.vms.operations.create import HOST_NAME, check_name
from panel.vms.operations.removing import release_records
from panel.vms.operations.settle_drift import adoptable
from panel.vms.placing import hold_promises, refuse_no_storage
from panel.vms.spec import spec_with
from panel.vms.status import tell_pages
from panel.vms.usage import note_shape

GIB = 1024**3
FORMATS = ("qcow2", "raw")
LIMITS = ("read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")


class ImportParams(Params):
    """Which domain, whose it shall be, and the address of each of its interfaces."""

    domain: str = Field(max_length=36, description="The domain's UUID, from the node's list.")
    owner: str = Field(max_length=64, description="Name of a user.")
    name: str | None = Field(default=None, max_length=63, description="Host name; none: the domain's own name.")
    addresses: dict[str, str] = Field(
        default_factory=dict,
        max_length=32,
        description="By each interface's MAC address, the address that its guest has in the network of its bridge.",
    )

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)

    @field_validator("addresses")
    @classmethod
    def _lower(cls, value: dict[str, str]) -> dict[str, str]:
        return {mac.lower(): ip.strip() for mac, ip in value.items()}


class ImportContext(VmContext[ImportParams]):
    """The domain as it is listed, and the VM as soon as it is recorded."""

    @cached_property
    def node(self) -> Node:
        """The node that has the domain."""
        return Node.objects.select_related("cluster").get(pk=self.task.node_id or 0)

    @cached_property
    def unmanaged(self) -> UnmanagedDomain:
        """The domain of the node's list; raises NotFound."""
        try:
            found = self.node.unmanaged_domains.filter(uuid=UUID(self.params.domain)).first()
        except ValueError:
            found = None
        if found is None:
            raise NotFound(object="domain", id=self.params.domain, field="domain")
        return found

    @cached_property
    def details(self) -> UnmanagedDetails:
        """What the list says of it; raises WrongState where it was made before it said so much."""
        if not self.unmanaged.details:
            text = "Too little is known of the domain yet. Check the node first."
            raise WrongState(text, object="domain", id=self.params.domain, state="not described", field="domain")
        return from_dict(UnmanagedDetails, self.unmanaged.details)

    @property
    def wanted_name(self) -> str:
        """What the VM is called."""
        return self.params.name or self.unmanaged.name

    @cached_property
    def networks(self) -> dict[str, Network]:
        """The cluster's networks by their bridges."""
        return {each.bridge: each for each in Network.objects.filter(cluster=self.node.cluster)}

    @cached_property
    def pools(self) -> list[Pool]:
        """The node's storages."""
        return list(Pool.objects.filter(on_nodes__node=self.node).order_by("pk"))

    def place_of(self, disk: DiskSpec) -> tuple[Pool, str] | None:
        """The storage that a disk lies in and its name there; None for another place."""
        found = storages.named([pool.ref for pool in self.pools], storages.place(disk.volume))
        return next(((pool, found.name) for pool in self.pools if found and pool.ref == found.pool), None)

    def new_vm(self) -> Vm:
        """The VM's row with the settings of the domain, as far as a VM can have them; not saved."""
        first = next((place[0] for disk in self.details.disks if (place := self.place_of(disk))), None)
        vm = Vm(
            uuid=self.unmanaged.uuid,
            name=self.wanted_name,
            cluster=self.node.cluster,
            node=self.node,
            pool=first or pool_named(self.node.cluster, None),
            memory_mib=self.unmanaged.memory_mib,
            vcpus=self.unmanaged.vcpus,
            autostart=self.details.autostart,
            wanted=Wanted.RUNNING if self.unmanaged.status in ON else Wanted.SHUT_OFF,
        )
        for name, value in adoptable(vm, self.details.facts).items():
            setattr(vm, name, value)
        return vm

    @property
    def resources(self) -> Resources:
        """What the VM takes of its owner's limits; its disks are measured later."""
        return Resources(1, self.unmanaged.memory_mib, self.unmanaged.vcpus, 0, len(self.details.interfaces))

    def planned_facts(self) -> Facts:
        """What the panel will say of the domain."""
        disks = [replace(disk, cache=_cache(disk)) for disk in self.details.disks]
        interfaces = [InterfaceSpec(mac=each.mac, bridge=each.bridge) for each in self.details.interfaces]
        return facts_of(domain_of(spec_with(self.new_vm(), disks=disks, interfaces=interfaces, cdroms=[])))

    def drift(self) -> str:
        """The difference between what the node has and what the panel will say, fact by fact."""
        return "".join(
            difflib.unified_diff(_lines(self.details.facts), _lines(self.planned_facts()), "node", "panel", n=0)
        )


def record_vm(ctx: ImportContext) -> dict[str, Any]:
    """The VM, its volumes and its addresses stand in the database; the domain is as before."""
    hold_promises(ctx.node.cluster_id)
    refuse(ctx)
    vm = ctx.new_vm()
    vm.owner = user_named(ctx.params.owner)
    require_within_limits(vm.owner, ctx.resources)
    vm.save()
    for position, disk in enumerate(ctx.details.disks):
        place = ctx.place_of(disk)
        assert place is not None
        # Its size is measured by a later step, which the node must be asked for.
        volume = new_volume(place[0], ctx.node, format=disk.format, size_gib=0, file_name=place[1])
        limits = {name: getattr(disk, name) for name in LIMITS}
        Disk.objects.create(
            vm=vm, volume=volume, target=disk.target, bus=disk.bus, cache=_cache(disk), position=position, **limits
        )
    for position, each in enumerate(ctx.details.interfaces):
        network = ctx.networks[each.bridge]
        address = network_services.allocate_certain(network, ctx.params.addresses[each.mac])
        interface = Interface.objects.create(
            vm=vm,
            network=network,
            mac=each.mac,
            position=position,
            # Filters know ports by names that the domain's ports do not have yet.
            guarded=False,
            inbound_kibps=each.inbound_kibps,
            outbound_kibps=each.outbound_kibps,
        )
        hold(interface, [address])
    note_shape(vm.pk)
    was = ctx.unmanaged.name
    ctx.set_object("vm", vm.pk, vm.name)
    transaction.on_commit(lambda: tell_pages([vm]))
    return {"was": was, "result": {"vm": vm.pk, "uuid": str(vm.uuid), "node": ctx.node.name}}


def see_domain(ctx: ImportContext) -> None:
    """The node has the domain, by the name that was listed, or already by its new one."""
    state = ctx.agent.call(host.HostInfo(uuid=str(ctx.vm.uuid)))
    if not state.exists or not state.persistent or state.name not in (ctx.output(record_vm)["was"], ctx.vm.name):
        raise OperationFailed("The domain is not any more what was listed. Check the node.", step=ctx.step_name)


def measure_volumes(ctx: ImportContext) -> None:
    """The volumes' sizes are known."""
    sizes = {}
    for volume in ctx.volumes():
        # What it looks like: one that is not what it is described as is refused, whoever is to blame.
        state = ctx.agent.call(storage.VolumeInfo(volume.ref, format=""))
        if not state.exists or state.format != volume.format:
            found = state.format or "nothing"
            text = Text(
                "{volume} is described as {format}, but {found} is there.",
                {"volume": volume.place, "format": volume.format, "found": found},
            )
            raise OperationFailed(text, step=ctx.step_name)
        if state.virtual_bytes % GIB or not state.virtual_bytes:
            text = Text(
                "{volume} has {bytes} bytes. Grow it to whole GiB first.",
                {"volume": volume.place, "bytes": state.virtual_bytes},
            )
            raise OperationFailed(text, step=ctx.step_name)
        sizes[volume.pk] = state.virtual_bytes // GIB
    with transaction.atomic():
        hold_promises(ctx.vm.cluster_id)
        require_within_limits(ctx.vm.owner, Resources(disk_gib=sum(sizes.values()) - disk_gib_of(ctx.vm)))
        for volume in ctx.volumes():
            more = sizes[volume.pk] - volume.size_gib
            refuse_no_storage(ctx.vm.node, volume.pool, more, field="domain", there=True)
            Volume.objects.filter(pk=volume.pk).update(size_gib=sizes[volume.pk])
        note_shape(ctx.vm.pk)


def rename_domain(ctx: ImportContext) -> None:
    """The domain bears the VM's name."""
    if ctx.vm.name != ctx.output(record_vm)["was"]:
        ctx.agent.call(guest.HostRename(uuid=str(ctx.vm.uuid), name=ctx.vm.name))


def rename_domain_back(ctx: ImportContext) -> None:
    """The domain bears the name that it had."""
    was = ctx.output(record_vm)["was"]
    vm = ctx.find_vm()
    if vm is None or vm.name == was:
        return
    if ctx.agent.call(host.HostInfo(uuid=str(vm.uuid))).exists:
        ctx.agent.call(guest.HostRename(uuid=str(vm.uuid), name=was))


def compare(ctx: ImportContext) -> dict[str, Any]:
    """The VM counts as installed; its status, and in what its description differs, are known."""
    vm = ctx.vm
    Vm.objects.filter(pk=vm.pk).update(installed=True)
    ctx.read_state(host.HostInfo(uuid=str(vm.uuid)))
    left = audit_vm(vm, lambda request: ctx.agent.call(request, deadline=AUDIT_SECONDS))
    UnmanagedDomain.objects.filter(uuid=vm.uuid).delete()
    return {"result": {"left": [each.field for each in left]}}


def refuse(ctx: ImportContext) -> None:
    """Raise what keeps the domain from becoming a VM; reads only."""
    refuse_owner(user_named(ctx.params.owner))
    if reasons := list(_reasons(ctx)):
        why = Text("The domain cannot be described as a VM: {reasons}.", {"reasons": joined(reasons)})
        told = [each.english for each in reasons]
        raise WrongState(why, object="domain", id=ctx.params.domain, state="not fit", field="domain", reasons=told)
    if not HOST_NAME.match(ctx.wanted_name):
        text = Text("“{name}” cannot be a VM's name: give another, of a-z, 0-9 and hyphens.", {"name": ctx.wanted_name})
        raise MissingValue(text, field="name")
    services.refuse_taken_name(ctx.node.cluster, ctx.wanted_name)
    refuse_over_limits(user_named(ctx.params.owner), ctx.resources)
    if ctx.wanted_name != ctx.unmanaged.name and ctx.unmanaged.status in (*ON, VmStatus.SAVED):
        still_on = "Shut the domain down first, with no memory saved: it gets another name."
        raise WrongState(still_on, object="domain", id=ctx.params.domain, state=ctx.unmanaged.status, field="name")
    _refuse_addresses(ctx)


def _reasons(ctx: ImportContext) -> Iterator[Text]:
    if Vm.objects.filter(uuid=ctx.unmanaged.uuid).exists():
        yield Text("a VM has its UUID")
    if not ctx.details.persistent:
        yield Text("libvirt forgets it when it stops")
    if ctx.details.snapshots:
        yield Text("it has snapshots")
    in_sight = Q(node=ctx.node) | Q(node=None, pool__in=ctx.pools)
    taken = {volume.place for volume in Volume.objects.filter(in_sight).select_related("pool")}
    others = ctx.node.unmanaged_domains.exclude(uuid=ctx.unmanaged.uuid)
    taken |= {place for places in others.values_list("disks", flat=True) for place in places}
    for disk in ctx.details.disks:
        about = {"disk": disk.target, "place": storages.place(disk.volume) or "–"}
        if ctx.place_of(disk) is None:
            yield Text("disk {disk} ({place}) lies in no storage's folder “volumes” on this node", about)
        elif storages.place(disk.volume) in taken:
            yield Text("disk {disk} ({place}) belongs to another domain too", about)
        if disk.bus not in DiskBus.values:
            yield Text("disk {disk} ({place}) is on the bus “{bus}”", {**about, "bus": disk.bus})
        if disk.format not in FORMATS:
            yield Text("disk {disk} ({place}) has the format “{format}”", {**about, "format": disk.format})
    for each in ctx.details.interfaces:
        if each.bridge not in ctx.networks:
            data = {"mac": each.mac, "bridge": each.bridge or "–"}
            yield Text("interface {mac} is joined to {bridge}, which is no network's", data)
        if Interface.objects.filter(mac=each.mac).exists():
            yield Text("another VM has the MAC address {mac}", {"mac": each.mac})


def _refuse_addresses(ctx: ImportContext) -> None:
    asked, macs = ctx.params.addresses, [each.mac for each in ctx.details.interfaces]
    for mac in asked:
        if mac not in macs:
            raise InvalidValue(Text("The domain has no interface {mac}.", {"mac": mac}), field="addresses")
    for each in ctx.details.interfaces:
        if each.mac not in asked:
            text = Text(
                "Which address of “{network}” has the interface {mac}?",
                {"network": str(ctx.networks[each.bridge]), "mac": each.mac},
            )
            raise MissingValue(text, field="addresses")
        network_services.refuse_address(ctx.networks[each.bridge], asked[each.mac])
    if len(set(asked.values())) < len(asked):
        raise AlreadyExists("Two interfaces cannot have one address.", field="addresses", object="address")


def _cache(disk: DiskSpec) -> str:
    return disk.cache if disk.cache in DiskCache.values else DiskCache.NONE.value


def _lines(facts: Facts) -> list[str]:
    return [f"{name}: {value}\n" for name, value in sorted(facts.items())]


class ImportDomain(Operation[ImportParams]):
    """Make a VM of a domain that somebody else defined on a node, with its disks, interfaces and addresses.

    It goes on running. Where the panel would describe it otherwise it has a difference afterwards, which can be
    adopted or repaired; its interfaces are not guarded until they are changed.
    """

    name = "vm.take-over"
    label = "Import"
    permission = "cluster.manage"
    params = ImportParams
    context = ImportContext
    placed = True
    locks = (exclusive("vm"), shared("node"), shared("pool"))
    steps = (
        Step(
            record_vm,
            "Record the VM, its disks and its addresses",
            undo=release_records,
            inline=True,
            describe=lambda ctx: Text(
                "VM “{vm}” of {owner}, {count} disks",
                {"vm": ctx.wanted_name, "owner": ctx.params.owner, "count": len(ctx.details.disks)},
            ),
        ),
        # No undo: these two change nothing on the node, and the records go as a whole.
        Step(see_domain, "See that the domain is there"),
        Step(measure_volumes, "Measure the disks"),
        Step(rename_domain, "Name the domain", undo=rename_domain_back),
        # No undo: it changes the record alone.
        Step(compare, "Compare", difference=lambda ctx: ctx.drift()),
    )

    def initial(self, obj: UnmanagedDomain | Node) -> dict[str, Any]:
        """The domain's name where a VM can have it, and its interfaces with no address yet; of a node nothing."""
        if not isinstance(obj, UnmanagedDomain):
            return {}
        macs = [each["mac"] for each in obj.details.get("interfaces", [])]
        return {"name": obj.name if HOST_NAME.match(obj.name) else "", "addresses": dict.fromkeys(macs, "")}

    @property
    def object_type(self) -> str:
        """It is asked of the node that has the domain."""
        return "node"

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Import domain {domain}", {"domain": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what cannot be described, with every reason, and names and addresses that are not free."""
        refuse(ctx)
