"""vm.add-interface, vm.remove-interface, vm.change-interface. An address is freed when its interface is gone."""

from __future__ import annotations

import re
from typing import Any

from django.db import transaction
from pydantic import Field, field_validator

from nodeagent.protocol import devices
from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import AlreadyExists, CapacityError, MissingValue, NotFound
from panel.core.wording import Text
from panel.network import services as network_services
from panel.network.models import Network
from panel.network.ranges import Taker
from panel.network.security import groups_named
from panel.network.selectors import given_versions, network_named
from panel.tasks.operation import Params, Step
from panel.tasks.requirements import demand
from panel.vms import address_history as history
from panel.vms import addresses, drift
from panel.vms.context import VmContext
from panel.vms.devices import DeviceOperation, describe_interface, interface_of, make_live, refuse_no_slot, told, unplug
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits
from panel.vms.machine import LARGEST_KIBPS
from panel.vms.models import Interface, Vm
from panel.vms.operations.guest_network import tell_network, tell_of_less
from panel.vms.placing import refuse_network
from panel.vms.requirements import undrifted
from panel.vms.security import MOST_ON_INTERFACE
from panel.vms.spec import interface_spec, with_values
from panel.vms.usage import note_shape

MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")
MOST_INTERFACES = 8
"""Operations that change an interface which is there."""


class AddInterfaceParams(addresses.WantedAddress):
    """Where the interface shall be."""

    network: str | None = Field(default=None, max_length=64, description="Name of a network; none: the first.")
    address: str | None = Field(
        default=None, max_length=45, description="A free address of the network's ranges; none: the first free one."
    )

    security_groups: list[str] = Field(
        default=[],
        max_length=MOST_ON_INTERFACE,
        description="Names of the owner's security groups that it has; none: as is usual.",
    )


class AddInterfaceContext(VmContext[AddInterfaceParams]):
    """The VM and the network."""

    @property
    def network(self) -> Network:
        """The network that was named, or has the address, or gives such ones, or the first; raises NotFound."""
        return addresses.network_for(self.vm.cluster, self.params, self.taker)

    @property
    def taker(self) -> Taker:
        """For whom its addresses are."""
        return addresses.taker_of(self.vm, self.params.purpose or "")

    def find_interface(self) -> Interface | None:
        """The interface that was reserved, None when it is gone again."""
        pk = self.output(reserve_interface).get("interface", 0)
        return Interface.objects.select_related("network").with_ips().filter(pk=pk).first()

    @property
    def interface(self) -> Interface:
        """The same; raises NotFound when it is gone, as its VM is."""
        if (interface := self.find_interface()) is None:
            raise NotFound(object="vm", id=self.task.object_id)
        return interface


def reserve_interface(ctx: AddInterfaceContext) -> dict[str, Any]:
    """The interface and its address stand in the database; the domain does not have it yet."""
    require_within_limits(ctx.vm.owner, Resources(addresses=len(given_versions(ctx.network, ctx.taker))))
    # One at a time: of two who ask at once, the second sees the place that the first has taken.
    Vm.objects.select_for_update().get(pk=ctx.vm.pk)
    _refuse_no_place(ctx.vm)
    last = ctx.vm.interfaces.order_by("position").last()
    interface = Interface.objects.create(
        vm=ctx.vm,
        network=ctx.network,
        mac=network_services.new_mac(),
        position=last.position + 1 if last else 0,
        attached=False,
    )
    taken = network_services.allocate(ctx.network, ctx.params.address, ctx.taker)
    addresses.hold(interface, taken)
    interface.security_groups.set(groups_named(ctx.vm.owner, ctx.params.security_groups, "security_groups"))
    note_shape(ctx.vm.pk)
    return {"interface": interface.pk, "result": {"interface": interface.mac, **addresses.told_of(taken)}}


def release_interface(ctx: AddInterfaceContext) -> None:
    """Nothing of the interface stands in the database; its address is free again."""
    if (interface := ctx.find_interface()) is not None:
        _forget(interface)


def attach_interface(ctx: AddInterfaceContext) -> dict[str, Any]:
    """The domain has the interface, the running guest too."""
    interface = ctx.interface
    Interface.objects.filter(pk=interface.pk).update(attached=True)
    describe_interface(ctx, interface_spec(interface), None)
    state = ctx.agent.call(devices.InterfaceAttach(uuid=str(ctx.vm.uuid), interface=interface_spec(interface)))
    return told(state, interface=interface.mac, address=interface.ip)


def tell_of_new_interface(ctx: AddInterfaceContext) -> None:
    """The guest is told of the interface beside its others, at its next start or by hand."""
    tell_network(ctx, ctx.interface)


def detach_new_interface(ctx: AddInterfaceContext) -> None:
    """The domain does not have the new interface, and its guest is not told of it."""
    if (interface := ctx.find_interface()) is not None:
        _detach(ctx, interface)
        tell_of_less(ctx)


class AddInterface(DeviceOperation):
    """Add a network interface with an address of its own, while the VM runs too.

    A guest with cloud-init learns of it when it is started next; others are told by hand.
    """

    name = "vm.add-interface"
    label = "Add interface"
    params = AddInterfaceParams
    context = AddInterfaceContext
    steps = (
        Step(
            reserve_interface,
            "Reserve an address",
            undo=release_interface,
            inline=True,
            describe=lambda ctx: Text("an address of “{network}”", {"network": ctx.network.name}),
        ),
        Step(attach_interface, "Attach the interface", undo=detach_new_interface),
        # No undo: detach_new_interface has it told of what is left.
        Step(tell_of_new_interface, "Tell the guest its address"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """An address that is not free, and more interfaces than the VM can, or its owner may have."""
        refuse_over_limits(ctx.vm.owner, Resources(addresses=len(given_versions(ctx.network, ctx.taker))))
        network_services.refuse_full(ctx.network, ctx.params.address, ctx.taker)
        refuse_network(ctx.vm, ctx.network)
        groups_named(ctx.vm.owner, ctx.params.security_groups, "security_groups")
        _refuse_no_place(ctx.vm)


class RemoveInterfaceParams(Params):
    """Which interface."""

    interface: str = Field(max_length=17, description="Its MAC address.")


def find_named_interface(ctx: VmContext[RemoveInterfaceParams]) -> Interface | None:
    """The interface to be removed, None when it is gone already."""
    found = ctx.vm.interfaces.select_related("network").with_ips().filter(mac=ctx.params.interface.lower())
    return found.first()


def unplug_interface(ctx: VmContext[RemoveInterfaceParams]) -> None:
    """The domain does not have the interface; where the guest does not let go, nothing has changed."""
    if (interface := find_named_interface(ctx)) is not None:
        if not ctx.vm.interfaces.exclude(pk=interface.pk).exists():
            ctx.log("This was the VM's last interface: it is reached by its console alone.", "warning")
        _detach(ctx, interface)


def tell_of_next_interface(ctx: VmContext[RemoveInterfaceParams]) -> None:
    """The guest is told of the interfaces that it has when this one is gone."""
    gone = find_named_interface(ctx)
    first = ctx.vm.interfaces.with_ips().order_by("position").exclude(pk=gone.pk if gone else 0).first()
    if gone is not None and first is not None and gone.position < first.position:
        tell_network(ctx, first)
    else:
        tell_of_less(ctx)


def forget_interface(ctx: VmContext[RemoveInterfaceParams]) -> None:
    """Nothing of the interface stands in the database; its address is free."""
    if (interface := find_named_interface(ctx)) is not None:
        _forget(interface, had_by=ctx.vm.owner_id)


class RemoveInterface(DeviceOperation):
    """Remove a network interface and free its address, while the VM runs too."""

    name = "vm.remove-interface"
    label = "Remove interface"
    params = RemoveInterfaceParams
    on_failure = "stop"
    cancellable = "queued"
    dangerous = True
    warning = "Its address may be another's a moment later."
    # No step has an undo: the address may be another's a moment later. The record goes last.
    steps = (
        Step(unplug_interface, "Detach the interface", describe=lambda ctx: ctx.params.interface),
        Step(tell_of_next_interface, "Tell the guest the address that it has now"),
        Step(forget_interface, "Free its address"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """An interface that the VM does not have."""
        interface = interface_of(ctx.vm, ctx.params.interface)
        demand(ctx.vm, undrifted(drift.named(f"interface {interface.mac}")))


class ChangeInterfaceParams(Params):
    """What shall be otherwise; what is not given stays. Limits are KiB a second, 0 for none."""

    interface: str = Field(max_length=17, description="Its MAC address.")
    network: str | None = Field(default=None, max_length=64, description="Another network, with a new address.")
    mac: str | None = Field(default=None, description="Another MAC address; a running guest has it replugged.")
    guarded: bool | None = Field(default=None, description="Whether the guest can send as nobody but itself.")
    inbound_kibps: int | None = Field(default=None, ge=0, le=LARGEST_KIBPS, description="What it may receive.")
    outbound_kibps: int | None = Field(default=None, ge=0, le=LARGEST_KIBPS, description="What it may send.")

    @field_validator("mac")
    @classmethod
    def _mac(cls, value: str | None) -> str | None:
        if value is not None and not MAC.match(value := value.lower()):
            raise ValueError("must be the MAC address of one station, as 52:54:00:12:34:56")
        return value


def reserve_change(ctx: VmContext[ChangeInterfaceParams]) -> dict[str, Any]:
    """What the interface was and shall be is in the task; in another network an address is reserved for it."""
    interface = interface_of(ctx.vm, ctx.params.interface)
    after = ctx.params.model_dump(exclude={"interface", "network"}, exclude_none=True)
    if ctx.params.network is not None:
        network = network_named(ctx.vm.cluster, ctx.params.network)
        if network.pk != interface.network_id:
            after |= {"network_id": network.pk}
    before = note_change(ctx, interface, after)
    if "network_id" in after:
        before |= {"addresses": addresses.ids_of(interface)}
        after |= {
            "addresses": [each.pk for each in network_services.allocate(network, taker=addresses.taker_of(ctx.vm))]
        }
    return {"interface": interface.pk, "before": before, "after": after}


def note_change(ctx: VmContext[Any], interface: Interface, after: dict[str, Any]) -> dict[str, Any]:
    """What the interface has of what is to change; raises Busy while another task changes it or waits for that.

    For a step with `inline`, whose output says which `interface` it is.
    """
    ctx.claim("interface", interface.pk)
    return {name: getattr(interface, name) for name in after}


def _addresses(values: dict[str, Any]) -> list[int]:
    """The ids of the addresses that the interface has by these values; none where it keeps its own."""
    # A task of an older release remembered the one that an interface had.
    one = [values["address_id"]] if "address_id" in values else []
    ids: list[int] = values.get("addresses", one)
    return ids


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """What of the values stands in the interface's own row."""
    return {name: value for name, value in values.items() if name not in ("addresses", "address_id")}


def release_new_address(ctx: VmContext[ChangeInterfaceParams]) -> None:
    """The address that was reserved in the other network is free again."""
    for address in _addresses(ctx.output(reserve_change)["after"]):
        network_services.release(address)


def change_interface(ctx: VmContext[ChangeInterfaceParams]) -> dict[str, Any]:
    """The interface is as was asked for, in the running guest too."""
    return become(ctx, _remembered(ctx), "after")


def tell_of_change(ctx: VmContext[ChangeInterfaceParams]) -> None:
    """The guest is told of another MAC or address of the interface."""
    remembered = ctx.output(reserve_change)
    interface = ctx.vm.interfaces.select_related("network").with_ips().filter(pk=remembered["interface"]).first()
    if interface is not None and remembered["after"].keys() & {"mac", "network_id"}:
        tell_network(ctx, interface)


def change_interface_back(ctx: VmContext[ChangeInterfaceParams]) -> None:
    """The interface is as it was; one that was removed before its turn came, or with its VM, stays so."""
    remembered = _remembered(ctx)
    if is_there(remembered):
        become(ctx, remembered, "before")
        tell_of_change(ctx)


def _remembered(ctx: VmContext[ChangeInterfaceParams]) -> dict[str, Any]:
    return {**ctx.output(reserve_change), "mac": ctx.params.interface}


def release_old_address(ctx: VmContext[ChangeInterfaceParams]) -> None:
    """The address in the network that was left is free."""
    network_services.release(*_addresses(ctx.output(reserve_change)["before"]), had_by=ctx.vm.owner_id)


def is_there(remembered: dict[str, Any]) -> bool:
    """Whether the interface of which a task remembers this is still there."""
    return Interface.objects.filter(pk=remembered["interface"]).exists()


def become(ctx: VmContext[Any], remembered: dict[str, Any], which: str) -> dict[str, Any]:
    """The interface is as it was before, or shall be after: in its row, the description and the running guest.

    `remembered` has the row's key as `interface`, the `mac` that was named, and the values `before` and `after`.
    Raises NotFound, Drifted.
    """
    if not is_there(remembered):
        text = "The interface was removed meanwhile."
        raise NotFound(text, object="interface", id=remembered["mac"], field="interface")
    uuid, wanted = str(ctx.vm.uuid), remembered[which]
    for mac in {remembered["before"].get("mac"), remembered["after"].get("mac")} - {wanted.get("mac")}:
        unplug(ctx, devices.InterfaceDetach(uuid=uuid, mac=mac))
    interface = _write(remembered["interface"], wanted)
    before = remembered["before" if which == "after" else "after"]
    had = {"joined_ips": addresses.joined(_addresses(before))} if _addresses(before) else {}
    other = with_values(interface, {**_columns(before), **had})
    spec = interface_spec(interface)
    describe_interface(ctx, spec, interface_spec(other))
    if "mac" in wanted:
        make_live(ctx, devices.InterfaceAttach(uuid=uuid, interface=spec))
    state = make_live(ctx, devices.InterfaceChange(uuid=uuid, interface=spec))
    return told(state, interface=interface.mac, address=interface.ip)


@transaction.atomic
def _write(pk: int, values: dict[str, Any]) -> Interface:
    """The interface's rows have these values; answers it as it is then."""
    if columns := _columns(values):
        Interface.objects.filter(pk=pk).update(**columns)
    if values.keys() & {"addresses", "address_id"}:
        # None too: in a network that gives none.
        addresses.exchange(Interface.objects.get(pk=pk), _addresses(values))
    if values.keys() & {"addresses", "address_id", "mac"}:
        history.note_terms(Interface.objects.values_list("vm_id", flat=True).get(pk=pk))
    return Interface.objects.select_related("network").with_ips().get(pk=pk)


class ChangeInterface(DeviceOperation):
    """Change a network interface's network, MAC address, limits or anti-spoofing filter, while the VM runs too.

    A guest with cloud-init learns another MAC or address of its first interface when it is started next.
    """

    name = "vm.change-interface"
    label = "Change interface"
    warning = "In another network it has another address, which the guest learns at its next start, or must be told."
    params = ChangeInterfaceParams
    steps = (
        Step(reserve_change, "Look what it is, and reserve an address", undo=release_new_address, inline=True),
        Step(
            change_interface,
            "Change the interface",
            undo=change_interface_back,
            describe=lambda ctx: ctx.params.interface,
        ),
        # No undo: change_interface_back tells it what it was.
        Step(tell_of_change, "Tell the guest its address"),
        # No undo: it is the last step, and the interface does not have the address any more.
        Step(release_old_address, "Free its old address"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Nothing to change, a taken MAC address, a full network, and what only administrators may."""
        asked, interface = ctx.params, interface_of(ctx.vm, ctx.params.interface)
        if not asked.model_fields_set - {"interface"}:
            raise MissingValue("Say what shall be changed.", field="network")
        if asked.model_fields_set & {"mac", "network"}:
            demand(ctx.vm, undrifted(drift.named(f"interface {interface.mac}")))
        if asked.model_fields_set & {"mac", "guarded", "inbound_kibps", "outbound_kibps"}:
            permissions.require(viewer, "cluster.manage")
        if asked.mac and Interface.objects.filter(mac=asked.mac).exclude(pk=interface.pk).exists():
            raise AlreadyExists("Another interface has this MAC address.", field="mac", object="interface")
        if asked.network is not None:
            network = network_named(ctx.vm.cluster, asked.network)
            if network.pk != interface.network_id:
                network_services.refuse_full(network, taker=addresses.taker_of(ctx.vm))
                refuse_network(ctx.vm, network)


def _refuse_no_place(vm: Vm) -> None:
    if vm.interfaces.count() >= MOST_INTERFACES:
        raise CapacityError(
            Text("A VM has at most {most} interfaces.", {"most": MOST_INTERFACES}), field="network", candidates={}
        )
    refuse_no_slot(vm)


def _detach(ctx: VmContext[Any], interface: Interface) -> None:
    """The guest first: while it has the interface, its description and its anti-spoofing filter stay."""
    unplug(ctx, devices.InterfaceDetach(uuid=str(ctx.vm.uuid), mac=interface.mac))
    Interface.objects.filter(pk=interface.pk).update(attached=False)
    describe_interface(ctx, None, interface_spec(interface))


def _forget(interface: Interface, had_by: int | None = None) -> None:
    with transaction.atomic():
        held = addresses.ids_of(interface)
        interface.delete()
        network_services.release(*held, had_by=had_by)
        note_shape(interface.vm_id)
