"""What a guest is told of its network, when another MAC, address or network makes that untrue.

Its seed, or the disk of a guest without cloud-init that is off, is written anew: the guest has it from its next start
on. Who is told neither way must be given it by hand, and the task's log says what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodeagent.protocol import guest
from nodeagent.protocol.identity import GuestInterface
from panel.core.errors import CommandFailed, LibvirtFailure
from panel.core.wording import Text
from panel.vms.context import VmContext
from panel.vms.models import ON, Interface, VmStatus
from panel.vms.operations.configure_guest import change_at_rest
from panel.vms.spec import guest_address, guest_interface, guest_network, uses_seed

OFF = (VmStatus.SHUT_OFF, VmStatus.CRASHED)


def tell_network(ctx: VmContext[Any], interface: Interface) -> None:
    """The guest learns this interface's MAC and addresses at its next start, or the log says what it needs."""
    vm = ctx.look_again()
    if not vm.installed or not interface.ips:
        return
    told = guest_interface(interface)
    if not (uses_seed(vm) or (vm.image is not None and vm.status in OFF)):
        ctx.log(by_hand(told), "warning")
        return
    try:
        change_at_rest(ctx, guest.GuestChange(network=guest_network(vm)))
    except CommandFailed as error:
        if error.data.get("agent_code") != "invalid_params":
            raise
        # Somebody has put a seed of his own there.
        ctx.log(Text("{text} {by_hand}", {"text": error.data["text"], "by_hand": by_hand(told)}), "warning")
        return
    if vm.status not in OFF:
        ctx.log(
            Text(
                "The guest has {address} on the interface {mac} when it is shut down and started: a reboot "
                "inside it is not enough.",
                {"address": ", ".join(interface.ips), "mac": told.mac},
            )
        )


def tell_addresses(ctx: VmContext[Any], interface: Interface, gone: Sequence[str] = ()) -> None:
    """The guest has the interface's addresses, and not those that are gone: now by its agent, and from its next start.

    Where its agent does not answer it has them from its next start alone, or the log says what it must be told.
    """
    vm = ctx.look_again()
    if not vm.installed or not interface.ips:
        return
    if not (vm.status in ON and _told_by_agent(ctx, interface, gone)):
        tell_network(ctx, interface)
    elif uses_seed(vm):
        change_at_rest(ctx, guest.GuestChange(network=guest_network(vm)))
    else:
        text = "The guest has its addresses until its next start. {by_hand}"
        ctx.log(Text(text, {"by_hand": by_hand(guest_interface(interface))}), "warning")


def _told_by_agent(ctx: VmContext[Any], interface: Interface, gone: Sequence[str]) -> bool:
    vm = ctx.vm
    left = [guest_address(interface.network, ip) for ip in gone]
    request = guest.GuestAddresses(str(vm.uuid), interface.mac, guest_network(vm), gone=left)
    try:
        return ctx.agent.call(request).answered
    except (CommandFailed, LibvirtFailure) as error:
        # Its agent runs no programs, or it is a system without iproute2.
        ctx.log(error.text, "warning")
        return False


def tell_of_less(ctx: VmContext[Any]) -> None:
    """The guest is told of no interface at its next start that it has no more; one without a seed is told by hand."""
    vm = ctx.look_again()
    if vm.installed and uses_seed(vm) and any(each.ips for each in vm.interfaces.filter(attached=True).with_ips()):
        change_at_rest(ctx, guest.GuestChange(network=guest_network(vm)))


def by_hand(told: GuestInterface) -> Text:
    """What somebody must tell the guest."""
    servers = f", name servers {', '.join(told.nameservers)}" if told.nameservers else ""
    every = told.addresses
    addresses = ", ".join(f"{each.address}/{each.prefix}" for each in every)
    gateways = "".join(f", gateway {each}" for each in dict.fromkeys(each.gateway for each in every) if each)
    noun = "address" if len(every) == 1 else "addresses"
    facts = f"interface {told.mac}, {noun} {addresses}{gateways}{servers}"
    return Text("The guest must be told by hand: {facts}.", {"facts": facts})
