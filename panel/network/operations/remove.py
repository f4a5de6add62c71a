"""network.remove: a network that nobody uses is gone from every node and from the panel."""

from __future__ import annotations

from typing import Any

from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.network import everywhere, services
from panel.network.context import NetworkContext
from panel.network.models import Network
from panel.network.operations.recorded import ChangesNetwork
from panel.tasks.operation import Params, Step
from panel.tasks.requirements import Requirement


class NoParams(Params):
    """Nothing to choose."""


def _used(network: Network) -> WrongState | None:
    try:
        services.refuse_used(network)
    except WrongState as error:
        return error
    return None


UNUSED = Requirement("not in use", _used)


def withdraw(ctx: NetworkContext[NoParams]) -> None:
    """No VM gets an interface in the network any more."""
    services.withdraw(ctx.network)


def offer_again(ctx: NetworkContext[NoParams]) -> None:
    """VMs get interfaces in it, on the nodes as before."""
    network = ctx.find_object()
    if network is not None:
        services.offer_again(network)
        everywhere.remake(ctx)


def take_from_nodes(ctx: NetworkContext[NoParams]) -> None:
    """No node has its bridge, nor what its kind made."""
    everywhere.unmake(ctx)


def delete_record(ctx: NetworkContext[NoParams]) -> None:
    """The panel does not know the network."""
    services.delete_network(int(ctx.task.object_id or 0))


class RemoveNetwork(ChangesNetwork[NoParams]):
    """Remove a network that no VM is in: its bridge from every node, its subnets and ranges."""

    name = "network.remove"
    label = "Remove"
    params = NoParams
    dangerous = True
    requires = (UNUSED,)
    steps = (
        Step(withdraw, "Give out no address of it any more", undo=offer_again, inline=True),
        # No undo: offer_again has it on the nodes again.
        Step(take_from_nodes, "Take it from the nodes", weight=5),
        # No undo: it is the last step.
        Step(delete_record, "Forget it"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Remove network {network}", {"network": ctx.task.object_name})
