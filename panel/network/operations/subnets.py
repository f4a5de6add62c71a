"""network.add-subnet, network.change-subnet, network.remove-subnet: what addresses a network has."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import Field

from panel.accounts.models import User
from panel.core.errors import MissingValue, NotFound
from panel.core.wording import Text
from panel.network import subnets
from panel.network.context import NetworkContext
from panel.network.models import ExcludedRange, IpPool, Network, Subnet
from panel.network.operations.add import RangesField, SubnetParams, subnet_values
from panel.network.operations.recorded import ChangesNetwork, recorded
from panel.tasks.operation import Params


class AddSubnetParams(SubnetParams):
    """A subnet."""

    cidr: str = Field(max_length=64, description="As 192.0.2.0/24 or 2001:db8::/64.")


class NamedSubnetParams(Params):
    """Which subnet."""

    subnet: str = Field(max_length=64, description="As the network has it, such as 192.0.2.0/24.")


class ChangeSubnetParams(NamedSubnetParams):
    """What to change of it; what is left out stays."""

    gateway: str | None = Field(default=None, max_length=45, description="Another address; empty: none.")
    nameservers: list[str] | None = Field(default=None, max_length=4, description="All of them.")
    ranges: RangesField | None = Field(
        default=None, max_length=100, description="All of them, as 192.0.2.10-192.0.2.99 or 192.0.2.64/26."
    )
    excluded: RangesField | None = Field(
        default=None, max_length=100, description="All that no VM gets though it lies in a range; who has it keeps it."
    )


def subnet_of(network: Network, cidr: str) -> Subnet:
    """The network's subnet of that range; raises NotFound."""
    found = next((each for each in network.subnets.all() if each.cidr == cidr), None)
    if found is None:
        raise NotFound(object="subnet", id=cidr, field="subnet")
    return found


def record_subnet(ctx: NetworkContext[AddSubnetParams]) -> dict[str, Any]:
    """The network has the subnet."""
    network = ctx.network
    return {"subnet": subnets.add_subnet(network, **subnet_values(network, ctx.params.cidr, ctx.params)).pk}


def forget_subnet(ctx: NetworkContext[AddSubnetParams]) -> None:
    """It does not have it."""
    found = Subnet.objects.filter(pk=ctx.output(record_subnet)["subnet"]).first()
    if found is not None:
        subnets.remove_subnet(found)


class AddSubnet(ChangesNetwork[AddSubnetParams]):
    """Add a subnet to the network, and the ranges of it that addresses are given out of."""

    name = "network.add-subnet"
    label = "Add subnet"
    params = AddSubnetParams
    steps = recorded(record_subnet, "Record the subnet", forget_subnet)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add subnet {subnet} to network {network}", _told(ctx, ctx.params.cidr))

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what the network's kind cannot have, and what overlaps another subnet."""
        network = ctx.network
        subnets.prepared(network, **subnet_values(network, ctx.params.cidr, ctx.params))


def record_change(ctx: NetworkContext[ChangeSubnetParams]) -> dict[str, Any]:
    """The subnet is as it shall be, and the task remembers what it was."""
    asked = ctx.params
    found = subnet_of(ctx.network, asked.subnet)
    before = _values(found)
    ranges = None if asked.ranges is None else [subnets.parse_range(each) for each in asked.ranges]
    excluded = None if asked.excluded is None else [subnets.parse_range(each) for each in asked.excluded]
    subnets.change_subnet(found, gateway=asked.gateway, nameservers=asked.nameservers, ranges=ranges, excluded=excluded)
    return {"before": before}


def record_change_back(ctx: NetworkContext[ChangeSubnetParams]) -> None:
    """The subnet is as it was."""
    before = ctx.output(record_change)["before"]
    found = Subnet.objects.filter(network=ctx.task.object_id, cidr=before["cidr"]).first()
    if found is not None:
        _write(found, before)


class ChangeSubnet(ChangesNetwork[ChangeSubnetParams]):
    """Change the gateway, name servers or ranges of a subnet. Guests that were told of the others keep them."""

    name = "network.change-subnet"
    label = "Change subnet"
    params = ChangeSubnetParams
    placed = True
    steps = recorded(record_change, "Record the change", record_change_back)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Change subnet {subnet} of network {network}", _told(ctx, ctx.params.subnet))

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a subnet that is none of the network's, and to change nothing."""
        subnet_of(ctx.network, ctx.params.subnet)
        if not ctx.params.model_fields_set - {"subnet"}:
            raise MissingValue(Text("Say what shall be changed."), field="gateway")


def record_removal(ctx: NetworkContext[NamedSubnetParams]) -> dict[str, Any]:
    """The network does not have the subnet, and the task remembers what it was."""
    found = subnet_of(ctx.network, ctx.params.subnet)
    before = _values(found)
    subnets.remove_subnet(found)
    return {"before": before}


def record_removal_back(ctx: NetworkContext[NamedSubnetParams]) -> None:
    """It has it as before."""
    network = ctx.find_object()
    before = ctx.output(record_removal)["before"]
    if network is not None and not network.subnets.filter(cidr=before["cidr"]).exists():
        _write(Subnet(network=network, cidr=before["cidr"], version=before["version"]), before)


class RemoveSubnet(ChangesNetwork[NamedSubnetParams]):
    """Remove a subnet of which no address is in use, with its ranges."""

    name = "network.remove-subnet"
    label = "Remove subnet"
    params = NamedSubnetParams
    placed = True
    dangerous = True
    steps = recorded(record_removal, "Forget the subnet", record_removal_back)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Remove subnet {subnet} of network {network}", _told(ctx, ctx.params.subnet))

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is in use, and the last one of a network that nodes are the gateway of."""
        network = ctx.network
        found = subnet_of(network, ctx.params.subnet)
        if network.of_kind.node_is_gateway and len(network.subnets.all()) == 1:
            raise MissingValue("Nodes are the gateway of such a network: it needs a subnet.", field="subnet")
        subnets.refuse_used_subnet(found)


def _told(ctx: NetworkContext[Any], cidr: str) -> dict[str, str]:
    return {"subnet": cidr, "network": ctx.task.object_name}


def _values(subnet: Subnet) -> dict[str, Any]:
    ranges = [{"first": each.first, "last": each.last, **subnets.said_of(each)} for each in subnet.ranges.all()]
    excluded = [[each.first, each.last] for each in subnet.excluded.all()]
    names = ("cidr", "version", "gateway", "nameservers")
    return {**{name: getattr(subnet, name) for name in names}, "ranges": ranges, "excluded": excluded}


@transaction.atomic
def _write(subnet: Subnet, values: dict[str, Any]) -> None:
    """The subnet is as these values say."""
    subnet.gateway, subnet.nameservers = values["gateway"], values["nameservers"]
    subnet.save()
    subnet.ranges.all().delete()
    IpPool.objects.bulk_create([IpPool(subnet=subnet, **_said(each)) for each in values["ranges"]])
    subnet.excluded.all().delete()
    excluded = [ExcludedRange(subnet=subnet, first=first, last=last) for first, last in values.get("excluded", ())]
    ExcludedRange.objects.bulk_create(excluded)


def _said(kept: dict[str, Any] | list[str]) -> dict[str, Any]:
    """A range as it was kept; a task of the release before kept its ends alone."""
    return kept if isinstance(kept, dict) else {"first": kept[0], "last": kept[1]}
