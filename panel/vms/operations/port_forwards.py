"""vm.add-port-forward, vm.remove-port-forward: ports of the VM's node that lead to it, in networks with NAT."""

from __future__ import annotations

from typing import Any, Literal

from django.db import transaction
from pydantic import Field

from panel.accounts.models import User
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import port_forwards
from panel.vms.context import VmContext
from panel.vms.models import PortForward
from panel.vms.operations.security_groups import tell_node

MOST_AT_ONCE = 100


class AddPortForwardParams(Params):
    """Which ports, and where they lead."""

    to_port: int = Field(ge=1, le=65535, description="The VM's port; of several, the first.")
    protocol: Literal["tcp", "udp"] = "tcp"
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The node's port; left out: the first free one. Of several, as the VM's.",
    )
    count: int = Field(default=1, ge=1, le=MOST_AT_ONCE, description="How many ports in a row.")
    interface: str | None = Field(
        default=None, max_length=17, description="Its MAC address; left out: the first in a network with NAT."
    )


def record_forward(ctx: VmContext[AddPortForwardParams]) -> dict[str, Any]:
    """The ports are taken."""
    asked = ctx.params
    interface = port_forwards.interface_of(ctx.vm, asked.interface)
    made = port_forwards.take(interface, asked.protocol, asked.port, asked.to_port, asked.count)
    return {"forward": made.pk, "result": {"port": made.port, "address": ctx.vm.node.address}}


def forget_forward(ctx: VmContext[AddPortForwardParams]) -> None:
    """The ports are free, on the node too."""
    PortForward.objects.filter(pk=ctx.output(record_forward).get("forward", 0)).delete()
    if ctx.find_vm() is not None:
        tell_node(ctx)


class AddPortForward(Operation[AddPortForwardParams]):
    """Have a port of the VM's node lead to a port of the VM, in a network with NAT; it goes along with the VM."""

    name = "vm.add-port-forward"
    label = "Add port forwarding"
    permission = "vms.devices"
    params = AddPortForwardParams
    context = VmContext
    placed = True
    locks = (exclusive("vm"), shared("node"))
    steps = (
        Step(record_forward, "Take the node's port", undo=forget_forward, inline=True),
        # No undo: forget_forward tells the node.
        Step(tell_node, "Tell the node"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action}: VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse ports that nobody may have or somebody has, a VM without NAT, and more than it may have."""
        asked = ctx.params
        port_forwards.refuse(
            port_forwards.interface_of(ctx.vm, asked.interface), asked.protocol, asked.port, asked.to_port, asked.count
        )


class RemovePortForwardParams(Params):
    """Which one."""

    port: int = Field(ge=1, le=65535, description="The node's port; of several, the first.")
    protocol: Literal["tcp", "udp"] = "tcp"


def remove_forward(ctx: VmContext[RemovePortForwardParams]) -> None:
    """The port leads to the VM no more, and is free."""
    with transaction.atomic():
        port_forwards.of(ctx.vm, ctx.params.protocol, ctx.params.port).delete()
    tell_node(ctx)


class RemovePortForward(Operation[RemovePortForwardParams]):
    """Have a port of the node lead to the VM no more; connections that are there go on."""

    name = "vm.remove-port-forward"
    label = "Remove port forwarding"
    permission = "vms.devices"
    params = RemovePortForwardParams
    context = VmContext
    placed = True
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))
    # No undo: the port may be another's a moment later.
    steps = (Step(remove_forward, "Tell the node"),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action}: VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what is not there."""
        port_forwards.get(ctx.vm, ctx.params.protocol, ctx.params.port)
