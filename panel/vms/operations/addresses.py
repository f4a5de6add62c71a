"""vm.add-address, vm.remove-address: one address more or less of an interface that is there, while the VM runs too."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from django.db import transaction
from pydantic import Field

from panel.accounts.models import User
from panel.core.errors import CapacityError, NotFound, WrongState
from panel.core.wording import Text
from panel.network import services as network_services
from panel.network.models import Address
from panel.tasks.operation import Params, Step
from panel.tasks.requirements import demand
from panel.vms import addresses, drift
from panel.vms.context import VmContext
from panel.vms.devices import DeviceOperation, interface_of
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits
from panel.vms.models import Interface, InterfaceAddress, Vm
from panel.vms.operations.guest_network import tell_addresses
from panel.vms.operations.interfaces import become, is_there, note_change
from panel.vms.requirements import undrifted
from panel.vms.usage import note_shape

MOST_ADDRESSES = 64
"""Of one interface: its anti-spoofing filter and what its guest reads name each."""


class AddAddressParams(Params):
    """Which address, and of which interface."""

    interface: str | None = Field(default=None, max_length=17, description="Its MAC address; none: the first.")
    address: str | None = Field(
        default=None,
        max_length=45,
        description="A free address of the network's ranges, or one reserved for the VM's owner; none: the first free.",
    )
    version: Literal[4, 6] = Field(default=4, description="Of which version of IP, where no address is named.")


def asked_interface(ctx: VmContext[AddAddressParams]) -> Interface:
    """The interface that was named, or the first; raises NotFound."""
    if ctx.params.interface is not None:
        return interface_of(ctx.vm, ctx.params.interface)
    first = ctx.vm.interfaces.select_related("network").with_ips().order_by("position").first()
    if first is None:
        text = Text("The VM has no network interface.")
        raise NotFound(text, object="interface", id="first", field="interface")
    return first


def reserve_address(ctx: VmContext[AddAddressParams]) -> dict[str, Any]:
    """The address is taken; the interface does not have it yet."""
    vm, asked = ctx.vm, ctx.params
    require_within_limits(vm.owner, Resources(addresses=1))
    interface = asked_interface(ctx)
    note_change(ctx, interface, {})
    had = addresses.ids_of(interface)
    _refuse_many(interface)
    made = network_services.allocate_one(interface.network, asked.address, asked.version, addresses.taker_of(vm))
    result = {"interface": interface.mac, "address": made.ip, "addresses": [*interface.ips, made.ip]}
    return {**_remembered(interface, had, [*had, made.pk]), "address": made.pk, "result": result}


def release_address(ctx: VmContext[AddAddressParams]) -> None:
    """The address is free again."""
    network_services.release(ctx.output(reserve_address)["address"])


def give_address(ctx: VmContext[AddAddressParams]) -> dict[str, Any]:
    """The interface has the address, and its anti-spoofing filter lets it through."""
    return _become(ctx, ctx.output(reserve_address), "after")


def take_address_back(ctx: VmContext[AddAddressParams]) -> None:
    """The interface has what it had; one that was removed with its VM stays so."""
    remembered = ctx.output(reserve_address)
    if is_there(remembered):
        _become(ctx, remembered, "before")
        _tell(ctx, remembered, _ips([remembered["address"]]))


def tell_of_address(ctx: VmContext[AddAddressParams]) -> None:
    """The guest has the address: at once by its agent, and at its next start."""
    _tell(ctx, ctx.output(reserve_address), [])


class AddAddress(DeviceOperation):
    """Give an interface one more address, of IPv4 or IPv6, while the VM runs too.

    The guest has it at once where its guest agent answers; else when it is started next, or by hand.
    """

    name = "vm.add-address"
    label = "Add address"
    params = AddAddressParams
    steps = (
        Step(
            reserve_address,
            "Reserve the address",
            undo=release_address,
            inline=True,
            describe=lambda ctx: Text("an address of “{network}”", {"network": asked_interface(ctx).network.name}),
        ),
        Step(give_address, "Give it to the interface", undo=take_address_back),
        # No undo: take_address_back tells the guest.
        Step(tell_of_address, "Tell the guest"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """An address that is not free, more addresses than an interface can or the owner may have, and drift."""
        interface = asked_interface(ctx)
        demand(ctx.vm, undrifted(drift.named(f"interface {interface.mac}")))
        refuse_over_limits(ctx.vm.owner, Resources(addresses=1))
        _refuse_many(interface)
        taker, asked = addresses.taker_of(ctx.vm), ctx.params
        network_services.refuse_none_free(interface.network, asked.address, asked.version, taker)


class RemoveAddressParams(Params):
    """Which address."""

    address: str = Field(max_length=45, description="One of the VM's addresses.")


def held_by(vm: Vm, ip: str) -> InterfaceAddress:
    """That an interface of the VM has the address; raises NotFound."""
    found = InterfaceAddress.objects.select_related("interface__network", "address").filter(interface__vm=vm)
    held = found.filter(address__ip=_written(ip)).first()
    if held is None:
        text = Text("The VM has no address “{address}”.", {"address": ip})
        raise NotFound(text, object="address", id=ip, field="address")
    return held


def note_removal(ctx: VmContext[RemoveAddressParams]) -> dict[str, Any]:
    """What the interface has and shall have is in the task."""
    held = held_by(ctx.vm, ctx.params.address)
    note_change(ctx, held.interface, {})
    had = addresses.ids_of(held.interface)
    after = [each for each in had if each != held.address_id]
    result = {"interface": held.interface.mac, "address": held.address.ip}
    return {**_remembered(held.interface, had, after), "address": held.address_id, "result": result}


def take_address(ctx: VmContext[RemoveAddressParams]) -> dict[str, Any]:
    """The interface does not have the address, and its anti-spoofing filter drops what is sent with it."""
    return _become(ctx, ctx.output(note_removal), "after")


def give_address_back(ctx: VmContext[RemoveAddressParams]) -> None:
    """The interface has what it had; one that was removed with its VM stays so."""
    remembered = ctx.output(note_removal)
    if is_there(remembered):
        _become(ctx, remembered, "before")
        _tell(ctx, remembered, [])


def tell_of_removal(ctx: VmContext[RemoveAddressParams]) -> None:
    """The guest does not use the address: at once by its agent, and at its next start."""
    remembered = ctx.output(note_removal)
    _tell(ctx, remembered, _ips([remembered["address"]]))


def free_address(ctx: VmContext[RemoveAddressParams]) -> None:
    """The address is free, unless it is reserved."""
    network_services.release(ctx.output(note_removal)["address"], had_by=ctx.vm.owner_id)


class RemoveAddress(DeviceOperation):
    """Take an address from an interface that has others, and free it, while the VM runs too."""

    name = "vm.remove-address"
    label = "Remove address"
    params = RemoveAddressParams
    dangerous = True
    warning = "It may be another's a moment later."
    steps = (
        Step(note_removal, "Look what the interface has", inline=True),
        Step(
            take_address,
            "Take it from the interface",
            undo=give_address_back,
            describe=lambda ctx: ctx.params.address,
        ),
        # No undo: give_address_back tells the guest.
        Step(tell_of_removal, "Tell the guest"),
        # No undo: it is the last step.
        Step(free_address, "Free the address"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """An address that is not the VM's, its only one, and drift of its interface."""
        held = held_by(ctx.vm, ctx.params.address)
        demand(ctx.vm, undrifted(drift.named(f"interface {held.interface.mac}")))
        if len(held.interface.ips) == 1:
            text = Text("The interface has no other address: remove the interface instead.")
            raise WrongState(text, object="vm", id=ctx.vm.pk, state="in use", field="address")


def _refuse_many(interface: Interface) -> None:
    if len(interface.ips) >= MOST_ADDRESSES:
        text = Text("An interface has at most {most} addresses.", {"most": MOST_ADDRESSES})
        raise CapacityError(text, field="interface", candidates={})


def _remembered(interface: Interface, before: list[int], after: list[int]) -> dict[str, Any]:
    shape = {"interface": interface.pk, "mac": interface.mac}
    return {**shape, "before": {"addresses": before}, "after": {"addresses": after}}


def _become(ctx: VmContext[Any], remembered: dict[str, Any], which: str) -> dict[str, Any]:
    """The interface has these addresses, in its rows, the ledger, and its filter on the node."""
    output = become(ctx, remembered, which)
    with transaction.atomic():
        note_shape(ctx.vm.pk)
    return output


def _tell(ctx: VmContext[Any], remembered: dict[str, Any], gone: list[str]) -> None:
    interface = ctx.vm.interfaces.select_related("network").with_ips().filter(pk=remembered["interface"]).first()
    if interface is not None:
        tell_addresses(ctx, interface, gone)


def _ips(ids: list[int]) -> list[str]:
    return list(Address.objects.filter(pk__in=ids).values_list("ip", flat=True))


def _written(ip: str) -> str:
    """The address as it is kept; what is none stays as it is, and is nobody's."""
    try:
        return str(ipaddress.ip_address(ip.strip()))
    except ValueError:
        return ip
