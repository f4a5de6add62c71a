"""network.add: one more network, on every node of the cluster."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from nodeagent.protocol.network import NAT
from panel.accounts.models import User
from panel.cluster.selectors import default_cluster
from panel.core.errors import InvalidValue, MissingValue
from panel.core.wording import Text
from panel.network import everywhere, services, subnets
from panel.network.context import NetworkContext
from panel.network.kinds import get_kind
from panel.network.models import Network
from panel.network.operations.recorded import ChangesNetwork, make_on_nodes
from panel.tasks.operation import Params, Step

BRIDGE = r"^[a-z][a-z0-9-]{0,14}$"
"""As nodes take it (nodeagent/network, NAME)."""


def _as_range(text: str) -> str:
    try:
        return "-".join(subnets.parse_range(text))
    except InvalidValue as error:
        raise ValueError(error.message) from error


RangesField = list[Annotated[str, AfterValidator(_as_range)]]
"""Ranges as people write them, each kept as “first-last”."""


class SubnetParams(Params):
    """What is said of a subnet besides its range."""

    gateway: str | None = Field(
        default=None, max_length=45, description="Its address; left out: its first where nodes are the gateway."
    )
    nameservers: list[str] = Field(default=[], max_length=4, description="Addresses of the guests' name servers.")
    ranges: RangesField | None = Field(
        default=None,
        max_length=100,
        description="What addresses are given out of, as 192.0.2.10-192.0.2.99 or 192.0.2.64/26; left out: all.",
    )
    excluded: RangesField = Field(
        default=[], max_length=100, description="What of the ranges no VM gets, written as ranges are."
    )


class AddNetworkParams(SubnetParams):
    """A network, and its first subnet."""

    name: str = Field(max_length=64)
    kind: str = Field(default=NAT, max_length=16, description="One of those that “network-kinds” lists.")
    options: dict[str, str] = Field(default={}, description="The kind's options.")
    bridge: str | None = Field(
        default=None, pattern=BRIDGE, description="The bridge that guests join on each node; left out: a free name."
    )
    subnet: str | None = Field(
        default=None,
        max_length=64,
        description="Its first subnet, as 192.0.2.0/24 or 2001:db8::/64; more can follow.",
    )


def record_network(ctx: NetworkContext[AddNetworkParams]) -> dict[str, Any]:
    """The network stands in the database with its first subnet."""
    asked = ctx.params
    network = services.add_network(default_cluster(), asked.name, asked.kind, asked.options, asked.bridge or "")
    ctx.set_object("network", network.pk, network.name)
    if asked.subnet:
        subnets.add_subnet(network, **subnet_values(network, asked.subnet, asked))
    return {"result": {"network": network.pk, "bridge": network.bridge}}


def subnet_values(network: Network, cidr: str, asked: SubnetParams) -> dict[str, Any]:
    """A subnet as subnets.add_subnet() takes it: what was asked for, and what is usual where nothing was."""
    gateway = asked.gateway
    if gateway is None and network.of_kind.node_is_gateway:
        gateway = subnets.usual_gateway(cidr)
    ranges = None if asked.ranges is None else [subnets.parse_range(each) for each in asked.ranges]
    excluded = [subnets.parse_range(each) for each in asked.excluded]
    values = {"gateway": gateway, "nameservers": asked.nameservers, "ranges": ranges, "excluded": excluded}
    return {"cidr": cidr, **values}


def forget_network(ctx: NetworkContext[AddNetworkParams]) -> None:
    """The panel does not know the network."""
    services.delete_network(int(ctx.task.object_id or 0))


class AddNetwork(ChangesNetwork[AddNetworkParams]):
    """Add a network to the cluster: every node has its bridge, and VMs get addresses of its ranges."""

    name = "network.add"
    label = "Add network"
    params = AddNetworkParams
    creates = True
    steps = (
        Step(
            record_network,
            "Record the network",
            undo=forget_network,
            inline=True,
            describe=lambda ctx: Text("network “{network}”", {"network": ctx.params.name}),
        ),
        Step(make_on_nodes, "Make it on the nodes", undo=everywhere.unmake_where_possible, weight=5),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add network {network}", {"network": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a kind or option that is none, a name that another network has, and a gateway of no subnet."""
        asked, kind = ctx.params, get_kind(ctx.params.kind)
        options = kind.checked(asked.options)
        if kind.node_is_gateway and not asked.subnet:
            raise MissingValue("Nodes are the gateway of such a network: it needs a subnet.", field="subnet")
        if not asked.subnet and (asked.gateway or asked.ranges):
            field = "gateway" if asked.gateway else "ranges"
            raise MissingValue(Text("Say the subnet that “{field}” belongs to.", {"field": field}), field="subnet")
        bridge = kind.hosts_bridge(options)
        if bridge and asked.bridge not in (None, bridge):
            text = "Guests join the host's own bridge: it is named by the kind's option alone."
            raise InvalidValue(text, field="bridge")
        services.refuse_taken(default_cluster(), asked.name, kind, options, bridge or asked.bridge or "")
        if asked.subnet:
            network = Network(cluster=default_cluster(), kind=kind.name, options=options)
            subnets.prepared(network, **subnet_values(network, asked.subnet, asked))
