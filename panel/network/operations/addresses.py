"""network.change-address, network.import-addresses: what is known of addresses that are in use, and a list of them."""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.core.errors import InvalidValue, MissingValue, NotFound, PanelError
from panel.core.wording import Text
from panel.network import services
from panel.network.context import NetworkContext
from panel.network.models import Address, Network
from panel.tasks.operation import Operation, Params, Step

MOST_LINES = 5000


class ChangeAddressParams(Params):
    """Which address, and what to change of it; what is left out stays, and what is empty is taken away."""

    address: str = Field(max_length=45, description="One of the network that is in use.")
    comment: str | None = Field(default=None, max_length=200, description="What it is for.")
    owner: str | None = Field(
        default=None, max_length=64, description="Of a reserved one: whose VMs may have it; empty: nobody's."
    )


def used_of(network: Network, ip: str) -> Address:
    """The network's address that is in use; raises NotFound."""
    found = network.addresses.filter(ip=ip).first()
    if found is None:
        raise NotFound(object="address", id=ip, field="address")
    return found


def change_address(ctx: NetworkContext[ChangeAddressParams]) -> dict[str, Any]:
    """The address has the comment and the owner; the task remembers what it had."""
    found, asked = used_of(ctx.network, ctx.params.address), ctx.params
    before = {"comment": found.comment, "owner_id": found.owner_id}
    if asked.comment is not None:
        found.comment = asked.comment
    if asked.owner is not None:
        found.owner = user_named(asked.owner) if asked.owner else None
    found.save()
    return {"address": found.pk, "before": before}


def change_address_back(ctx: NetworkContext[ChangeAddressParams]) -> None:
    """It has what it had."""
    noted = ctx.output(change_address)
    Address.objects.filter(pk=noted["address"]).update(**noted["before"])


class ChangeAddress(Operation[ChangeAddressParams]):
    """Say what an address is for, and of a reserved one whose VMs may have it."""

    name = "network.change-address"
    label = "Change address"
    permission = "cluster.manage"
    params = ChangeAddressParams
    context = NetworkContext
    placed = True
    steps = (Step(change_address, "Record the change", undo=change_address_back, inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        told = {"address": ctx.params.address, "network": ctx.task.object_name}
        return Text("Change address {address} of network {network}", told)

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is not in use, to change nothing, and an owner for one that is not reserved."""
        asked, found = ctx.params, used_of(ctx.network, ctx.params.address)
        if not asked.model_fields_set - {"address"}:
            raise MissingValue(Text("Say what shall be changed."), field="comment")
        if asked.owner is not None and not found.reserved:
            raise InvalidValue("An address that is not reserved is its VM's owner's.", field="owner")
        if asked.owner:
            user_named(asked.owner)


class ImportAddressesParams(Params):
    """A list of addresses that are in use elsewhere, or reserved."""

    lines: list[Annotated[str, Field(max_length=400)]] = Field(
        min_length=1,
        max_length=MOST_LINES,
        description="One a line: address, and after commas whose VMs may have it (empty: nobody's, as it is used "
        "elsewhere) and what it is for.",
    )


@dataclass(frozen=True)
class Line:
    """A line of the list."""

    ip: str
    owner: User | None
    comment: str


def parsed(network: Network, lines: Sequence[str]) -> list[Line]:
    """The lines, each an address of the network that is in use by nobody, or reserved just so.

    Empty lines say nothing. Raises InvalidValue that names the line.
    """
    users: dict[str, User | None] = {"": None}
    found, seen = list[Line](), set[str]()
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = _line(network, _cells(text), users)
        except PanelError as error:
            data = {"number": number, "error": error.text}
            raise InvalidValue(Text("Line {number}: {error}", data), field="lines") from error
        if line.ip in seen:
            data = {"number": number, "address": line.ip}
            raise InvalidValue(Text("Line {number}: {address} is named twice.", data), field="lines")
        seen.add(line.ip)
        found.append(line)
    return found


def _cells(text: str) -> list[str]:
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise InvalidValue(Text("It cannot be read as a line of CSV."), field="lines") from None
    return [cell.strip() for cell in row]


def _line(network: Network, cells: list[str], users: dict[str, User | None]) -> Line:
    ip, owner, comment = (*cells, "", "", "")[:3]
    if owner not in users:
        users[owner] = user_named(owner)
    try:
        ip = str(ipaddress.ip_address(ip))
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field="lines") from None
    services.refuse_no_guests(network, ip)
    return Line(ip, users[owner], comment[:200])


def import_addresses(ctx: NetworkContext[ImportAddressesParams]) -> dict[str, Any]:
    """Each address of the list is reserved; what is in use already is left as it is, and counted."""
    network = ctx.network
    lines = parsed(network, ctx.params.lines)
    made, left = services.reserve_all(network, [(each.ip, each.owner, each.comment) for each in lines])
    if left:
        told = {"count": len(left), "addresses": ", ".join(left[:10])}
        ctx.log(Text("{count} addresses were in use already and are left as they are: {addresses}.", told), "warning")
    return {"result": {"reserved": made, "left": len(left)}}


class ImportAddresses(Operation[ImportAddressesParams]):
    """Reserve a list of addresses, for owners or as used elsewhere, also such as lie in no range."""

    name = "network.import-addresses"
    label = "Import addresses"
    permission = "cluster.manage"
    params = ImportAddressesParams
    context = NetworkContext
    asks = True
    on_failure = "stop"
    # No undo: network.release-address is it. No lock: the network's row is held meanwhile.
    steps = (Step(import_addresses, "Reserve the addresses", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Import addresses of network {network}", {"network": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a list with a line that is none."""
        services.refuse_removing(ctx.network)
        parsed(ctx.network, ctx.params.lines)
