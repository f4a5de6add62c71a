"""network.change-range: for whom a range's addresses are, and which is given out next."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.cluster.models import Node
from panel.core.errors import MissingValue, NotFound
from panel.core.wording import Text
from panel.network.context import NetworkContext
from panel.network.models import Choice, IpPool, Network, Purpose
from panel.network.subnets import SAID, parse_range
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step


class ChangeRangeParams(Params):
    """Which range, and what to change of it; what is left out stays, and what is empty is taken away."""

    range: str = Field(max_length=100, description="As the network has it, such as 192.0.2.10-192.0.2.99.")
    purpose: Purpose | Literal[""] | None = Field(default=None, description="Empty: what its addresses are.")
    choice: Choice | None = Field(default=None, description="Which free address is given out next.")
    owner: str | None = Field(default=None, max_length=64, description="Whose VMs alone get its addresses.")
    node: str | None = Field(default=None, max_length=64, description="On which node alone VMs get its addresses.")
    flavor: str | None = Field(
        default=None,
        max_length=64,
        description="Name of the plan by which VMs are made that alone get its addresses.",
    )
    for_all: bool = Field(default=False, description="Its addresses are for VMs of all users, nodes and plans again.")


def range_of(network: Network, asked: str) -> IpPool:
    """The network's range with these ends; raises NotFound and InvalidValue."""
    first, last = parse_range(asked)
    found = next((each for each in network.ranges if (each.first, each.last) == (first, last)), None)
    if found is None:
        raise NotFound(object="range", id=asked, field="range")
    return found


def _changes(asked: ChangeRangeParams) -> dict[str, Any]:
    """The columns that change with their values; raises NotFound for a user or node that is none."""
    named = asked.model_dump(mode="json", exclude={"range", "for_all"}, exclude_none=True)
    if (owner := named.pop("owner", None)) is not None:
        named["owner_id"] = user_named(owner).pk if owner else None
    if (node := named.pop("node", None)) is not None:
        named["node_id"] = _node_named(node).pk if node else None
    return ({"owner_id": None, "node_id": None, "flavor": ""} if asked.for_all else {}) | named


def _node_named(name: str) -> Node:
    if (node := Node.objects.filter(name=name).first()) is None:
        raise NotFound(object="node", id=name, field="node")
    return node


def record_range(ctx: NetworkContext[ChangeRangeParams]) -> dict[str, Any]:
    """Addresses of the range go to whom they are for; the task remembers how it was."""
    found = range_of(ctx.network, ctx.params.range)
    before = {name: getattr(found, name) for name in SAID}
    IpPool.objects.filter(pk=found.pk).update(**_changes(ctx.params))
    return {"range": found.pk, "before": before}


def record_range_back(ctx: NetworkContext[ChangeRangeParams]) -> None:
    """It is as it was."""
    noted = ctx.output(record_range)
    IpPool.objects.filter(pk=noted["range"]).update(**noted["before"])


class ChangeRange(Operation[ChangeRangeParams]):
    """Say whose a range's addresses are, what they are for, and which is given out next. Who has one keeps it."""

    name = "network.change-range"
    label = "Change range"
    permission = "cluster.manage"
    params = ChangeRangeParams
    context = NetworkContext
    placed = True
    locks = (exclusive("network"),)
    steps = (Step(record_range, "Record the change", undo=record_range_back, inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text(
            "Change range {range} of network {network}",
            {"range": ctx.params.range, "network": ctx.task.object_name},
        )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a range that is none of the network's, to change nothing, and for whom there is nobody."""
        range_of(ctx.network, ctx.params.range)
        if not ctx.params.model_fields_set - {"range"}:
            raise MissingValue(Text("Say what shall be changed."), field="purpose")
        _changes(ctx.params)
