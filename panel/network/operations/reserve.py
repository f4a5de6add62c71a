"""network.reserve-address, network.release-address: an address that is in use though no VM has it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from pydantic import Field

from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.core.errors import NotFound
from panel.core.wording import Text
from panel.network import services
from panel.network.context import NetworkContext
from panel.network.models import Address, Network, Purpose
from panel.network.ranges import Taker
from panel.tasks.operation import Operation, Params, Step


class ReserveAddressParams(Params):
    """Which address, and for whom."""

    address: str | None = Field(
        default=None, max_length=45, description="One of the network's ranges; left out: its first free one."
    )
    version: int = Field(default=4, description="4 or 6: of which version of IP the first free one is.")
    owner: str | None = Field(
        default=None, max_length=64, description="Whose VMs may have it, when they ask for it; left out: nobody's."
    )
    comment: str = Field(default="", max_length=200, description="What it is for.")
    purpose: Purpose | None = Field(
        default=None, description="Of ranges for that; left out: of any that are for the owner."
    )
    days: int | None = Field(
        default=None, ge=1, le=3650, description="For how many days, if no VM has it by then; left out: until released."
    )


def _owner(asked: ReserveAddressParams) -> User | None:
    return user_named(asked.owner) if asked.owner else None


def _ends(days: int | None) -> datetime | None:
    return timezone.now() + timedelta(days=days) if days else None


def reserve_address(ctx: NetworkContext[ReserveAddressParams]) -> dict[str, Any]:
    """The address is in use."""
    asked = ctx.params
    made = services.reserve(
        ctx.network,
        asked.address,
        asked.version,
        _owner(asked),
        asked.comment,
        purpose=asked.purpose or "",
        expires_at=_ends(asked.days),
    )
    result = {"address": made.ip, "addresses": [made.ip], "expires_at": moment(made.expires_at)}
    return {"result": result}


def moment(at: datetime | None) -> str | None:
    """As results tell it."""
    return at.isoformat() if at is not None else None


class ReserveAddress(Operation[ReserveAddressParams]):
    """Take an address that no VM has: for something else, or for VMs that are still to come."""

    name = "network.reserve-address"
    label = "Reserve address"
    permission = "cluster.manage"
    params = ReserveAddressParams
    context = NetworkContext
    asks = True
    on_failure = "stop"
    # No undo: network.release-address is it. No lock: the network's row is held meanwhile.
    steps = (Step(reserve_address, "Reserve the address", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Reserve an address of network {network}", {"network": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is not free, and a version that the network gives no address of."""
        network, asked = ctx.network, ctx.params
        services.refuse_removing(network)
        owner = _owner(asked)
        taker = Taker(owner.pk if owner else None, purpose=asked.purpose or "", everywhere=asked.address is not None)
        services.refuse_none_free(network, asked.address, asked.version, taker)


class ReleaseAddressParams(Params):
    """Which address."""

    address: str = Field(max_length=45, description="One of the network that is reserved, or waits.")


def release_address(ctx: NetworkContext[ReleaseAddressParams]) -> None:
    """The address is free, or as long in use as the VM has it that has it now."""
    services.end_reservation(reserved_of(ctx.network, ctx.params.address))


def reserved_of(network: Network, ip: str) -> Address:
    """The network's address that is reserved, or waits since somebody had it; raises NotFound."""
    kept = Q(reserved=True) | Q(waits_until__isnull=False)
    found = network.addresses.filter(kept, ip=ip).first()
    if found is None:
        raise NotFound(object="address", id=ip, field="address")
    return found


class ReleaseAddress(Operation[ReleaseAddressParams]):
    """Reserve an address no more, or let it wait no longer: it is free, or when the VM that has it has it no more."""

    name = "network.release-address"
    label = "Release address"
    permission = "cluster.manage"
    params = ReleaseAddressParams
    context = NetworkContext
    placed = True
    on_failure = "stop"
    steps = (Step(release_address, "Release the address", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text(
            "Release address {address} of network {network}",
            {"address": ctx.params.address, "network": ctx.task.object_name},
        )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is not reserved."""
        reserved_of(ctx.network, ctx.params.address)
