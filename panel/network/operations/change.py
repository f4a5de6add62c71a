"""network.change: another name, other options of its kind."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from panel.accounts.models import User
from panel.core.errors import InvalidValue, MissingValue
from panel.core.wording import Text
from panel.network import services
from panel.network.context import NetworkContext
from panel.network.operations.recorded import ChangesNetwork, recorded
from panel.tasks.operation import Params


class ChangeNetworkParams(Params):
    """What to change; what is left out stays."""

    name: str | None = Field(default=None, min_length=1, max_length=64, description="Another name.")
    options: dict[str, str] | None = Field(
        default=None, description="Options of its kind that change; one with nothing is as it is unasked."
    )


def _after(ctx: NetworkContext[ChangeNetworkParams]) -> dict[str, Any]:
    """The network's name and options as they shall be; raises InvalidValue and MissingValue for the latter."""
    network, asked = ctx.network, ctx.params
    merged = {**network.options, **(asked.options or {})}
    options = network.of_kind.checked({name: value for name, value in merged.items() if value != ""})
    return {"name": asked.name or network.name, "options": options}


def record_change(ctx: NetworkContext[ChangeNetworkParams]) -> dict[str, Any]:
    """The network's record is as it shall be, and the task remembers what it was."""
    network, after = ctx.network, _after(ctx)
    before = {"name": network.name, "options": network.options}
    services.change_network(network, **after)
    return {"before": before}


def record_change_back(ctx: NetworkContext[ChangeNetworkParams]) -> None:
    """The network's record is as it was."""
    network = ctx.find_object()
    if network is not None:
        services.change_network(network, **ctx.output(record_change)["before"])


class ChangeNetwork(ChangesNetwork[ChangeNetworkParams]):
    """Change the network's name, or options of its kind on every node."""

    name = "network.change"
    label = "Change"
    params = ChangeNetworkParams
    asks = True
    steps = recorded(record_change, "Record the change", record_change_back, "Change it on the nodes")

    def initial(self, obj: Any) -> dict[str, Any]:
        """What it is now."""
        return {"name": obj.name, "options": obj.options}

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what its kind cannot have, and what another network has."""
        if ctx.params.name is None and ctx.params.options is None:
            raise MissingValue(Text("Say what shall be changed."), field="name")
        network, after = ctx.network, _after(ctx)
        if network.of_kind.hosts_bridge(after["options"]) != network.of_kind.hosts_bridge(network.options):
            text = "The bridge that guests have joined stays: add another network for another one."
            raise InvalidValue(text, field="options")
        services.refuse_taken(network.cluster, after["name"], network.of_kind, after["options"], but=network.pk)
