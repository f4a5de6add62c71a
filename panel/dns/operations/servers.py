"""dns-server.add, .change, .compare, .remove: which name servers the panel writes records at.

All is done in the database: a worker follows by itself, and again while the server does not answer.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from panel.accounts.models import User
from panel.core.errors import CapacityError, NotFound, WrongState
from panel.core.wording import Text
from panel.dns import names, services
from panel.dns.models import USUAL_TEMPLATE, DnsServer
from panel.tasks.context import Context, P
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import Requirement

LONGEST_KEY = 200


class DnsContext(Context[P]):
    """What a step of a name server's operation sees besides its parameters."""

    @property
    def server(self) -> DnsServer:
        """The server as it stands now; raises NotFound when it was removed meanwhile."""
        if (server := self.find_object()) is None:
            raise NotFound(object="dns-server", id=self.task.object_id)
        return server

    def find_object(self) -> DnsServer | None:
        """The server, or None when its record is gone."""
        return DnsServer.objects.filter(pk=self.task.object_id or 0).first()


def _url(text: str) -> str:
    parts = urlsplit(text)
    fits = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
    if not fits or parts.username or parts.password or not text.isascii() or " " in text or parts.port == 0:
        raise ValueError("must be an address as https://ns1.example.org:8081")
    return text.rstrip("/")


def _empty_or_name(text: str) -> str:
    return names.host_name(text) if text else ""


Url = Annotated[str, AfterValidator(_url)]
Domain = Annotated[str, AfterValidator(_empty_or_name)]
Template = Annotated[str, AfterValidator(names.template)]
Ranges = list[Annotated[str, AfterValidator(names.checked_range)]]
Hosts = list[Annotated[str, AfterValidator(names.host_name)]]
OF_KEY = "The key of its API (api-key); kept encrypted and never shown."
OF_RANGES = "Addresses whose names it has, as 192.0.2.0/24 or 2001:db8::/48; its zones are cut at these."
OF_DOMAIN = "The domain of names that VMs have without asking, as vm.example.org."
OF_TEMPLATE = "What those are made of: {name} of the VM, {ip} with hyphens, {domain}; empty: they have none."
OF_FORWARD = "Whether such names have A and AAAA records in the domain too."
OF_MAKING = "Whether zones that are missing are made."
OF_NAMESERVERS = "Host names that zones which are made name as their name servers."
OF_TTL = "How long others may remember its records."


class AddServerParams(Params):
    """A name server."""

    name: str = Field(max_length=64, min_length=1)
    url: Url = Field(max_length=255, description="Where the API of its PowerDNS is, as https://ns1.example.org:8081.")
    api_key: SecretStr = Field(min_length=1, max_length=LONGEST_KEY, description=OF_KEY)
    ranges: Ranges = Field(min_length=1, max_length=100, description=OF_RANGES)
    domain: Domain = Field(default="", max_length=253, description=OF_DOMAIN)
    template: Template = Field(default=USUAL_TEMPLATE, max_length=200, description=OF_TEMPLATE)
    forward: bool = Field(default=False, description=OF_FORWARD)
    make_zones: bool = Field(default=True, description=OF_MAKING)
    zone_nameservers: Hosts = Field(default=[], max_length=10, description=OF_NAMESERVERS)
    ttl_seconds: int = Field(default=3600, ge=60, le=86400 * 7, description=OF_TTL)


class ChangeServerParams(Params):
    """What to change; what is left out stays."""

    name: str | None = Field(default=None, max_length=64, min_length=1, description="Another name.")
    url: Url | None = Field(default=None, max_length=255, description="Another address of its API.")
    api_key: SecretStr | None = Field(default=None, min_length=1, max_length=LONGEST_KEY, description=OF_KEY)
    ranges: Ranges | None = Field(default=None, min_length=1, max_length=100, description=OF_RANGES)
    domain: Domain | None = Field(default=None, max_length=253, description=OF_DOMAIN)
    template: Template | None = Field(default=None, max_length=200, description=OF_TEMPLATE)
    forward: bool | None = Field(default=None, description=OF_FORWARD)
    make_zones: bool | None = Field(default=None, description=OF_MAKING)
    zone_nameservers: Hosts | None = Field(default=None, max_length=10, description=OF_NAMESERVERS)
    ttl_seconds: int | None = Field(default=None, ge=60, le=86400 * 7, description=OF_TTL)


def _values(asked: AddServerParams | ChangeServerParams) -> dict[str, Any]:
    """What was asked for as the row has it, without the key."""
    given = asked.model_dump(exclude={"api_key"}, exclude_none=True)
    return {"ttl" if name == "ttl_seconds" else name: value for name, value in given.items()}


def _of(server: DnsServer) -> dict[str, Any]:
    names_ = ("name", "url", "ranges", "domain", "template", "forward", "make_zones", "zone_nameservers", "ttl")
    return {name: getattr(server, name) for name in names_}


def record_server(ctx: DnsContext[AddServerParams]) -> dict[str, Any]:
    """The server stands in the database, and is brought to what it shall have by the next sweep."""
    made = services.add_server(_values(ctx.params), ctx.params.api_key.get_secret_value())
    ctx.set_object("dns-server", made.pk, made.name)
    return {"result": {"dns_server": made.pk}}


class AddServer(Operation[AddServerParams]):
    """Have the panel write the names of addresses, and of VMs, at a PowerDNS."""

    name = "dns-server.add"
    label = "Add name server"
    permission = "cluster.manage"
    params = AddServerParams
    context = DnsContext
    creates = True
    on_failure = "stop"
    # No undo: it is the only step, done with the request.
    steps = (Step(record_server, "Record the name server", inline=True, ends_secrets=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add name server {name}", {"name": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a name or range that another one has, and settings that do not fit one another."""
        if DnsServer.objects.count() >= services.MOST_SERVERS:
            raise CapacityError("There are as many name servers as there can be.", field="name", candidates={})
        services.refuse_server(_values(ctx.params))


def record_change(ctx: DnsContext[ChangeServerParams]) -> None:
    """The server's row is as it shall be; its records follow."""
    key = ctx.params.api_key.get_secret_value() if ctx.params.api_key is not None else None
    services.change_server(ctx.server, _values(ctx.params), key)


def _being_removed(server: DnsServer) -> WrongState | None:
    return WrongState(object="dns-server", id=server.pk, state="being removed") if server.removing else None


NOT_REMOVING = Requirement("not being removed", _being_removed)


class ChangeServer(Operation[ChangeServerParams]):
    """Change where a name server is, which names it has, and what they are made of."""

    name = "dns-server.change"
    label = "Change"
    permission = "cluster.manage"
    params = ChangeServerParams
    context = DnsContext
    asks = True
    on_failure = "stop"
    requires = (NOT_REMOVING,)
    # No undo: it is the only step, done with the request.
    steps = (Step(record_change, "Record the change", inline=True, ends_secrets=True),)

    def initial(self, obj: Any) -> dict[str, Any]:
        """What it is now."""
        of = _of(obj)
        switches = {name: "yes" if of[name] else "no" for name in ("forward", "make_zones")}
        return {**{name: value for name, value in of.items() if name != "ttl"}, **switches, "ttl_seconds": of["ttl"]}

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what could not be added."""
        services.refuse_server({**_of(ctx.server), **_values(ctx.params)}, but=ctx.server.pk)


class NoParams(Params):
    """Nothing to choose."""


def have_compared(ctx: DnsContext[NoParams]) -> None:
    """A worker compares the server's records as soon as it sweeps."""
    services.compare_server(ctx.server)


class CompareServer(Operation[NoParams]):
    """Compare the server's records with what they shall be now, as every half hour; ours that differ are mended."""

    name = "dns-server.compare"
    label = "Compare now"
    permission = "cluster.manage"
    params = NoParams
    context = DnsContext
    on_failure = "stop"
    # No undo: it is the only step, done with the request.
    steps = (Step(have_compared, "Have it compared", inline=True),)


class RemoveServerParams(Params):
    """What becomes of the records."""

    keep_records: bool = Field(
        default=False, description="Forget it at once, and leave at the server what the panel wrote there."
    )


def have_removed(ctx: DnsContext[RemoveServerParams]) -> None:
    """The server is forgotten, or will be once it has no record of the panel's any more."""
    services.remove_server(ctx.server, keep_records=ctx.params.keep_records)


class RemoveServer(Operation[RemoveServerParams]):
    """Withdraw the panel's records from a name server, then forget it."""

    name = "dns-server.remove"
    label = "Remove"
    permission = "cluster.manage"
    params = RemoveServerParams
    context = DnsContext
    dangerous = True
    on_failure = "stop"
    # No undo: it is the only step, done with the request.
    steps = (Step(have_removed, "Withdraw its records, and forget it", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Remove name server {name}", {"name": ctx.task.object_name})
