"""Name servers that are added, changed and removed, and names that are given: rows alone; bringing.py does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.core import live, permissions, secretbox
from panel.core.errors import AlreadyExists, InvalidValue, MissingValue
from panel.core.wording import Text
from panel.dns import wanted
from panel.dns.bringing import forget
from panel.dns.models import DnsServer, Due, ReverseName
from panel.network.models import Address
from panel.vms.models import InterfaceAddress, Vm

MOST_SERVERS = 20
NO_FORWARD = "Forward records are of names in the domain: say one, and a template that ends with “.{domain}”."
NO_NAMESERVERS = "A zone that the panel makes names its name servers: say them, or that it makes none."


def refuse_server(values: Mapping[str, Any], but: int = 0) -> None:
    """Raise AlreadyExists, MissingValue or InvalidValue where there can be no such server beside those but this one."""
    others = DnsServer.objects.exclude(pk=but)
    if others.filter(name=values["name"]).exists():
        text = Text("There is a name server “{name}” already.", {"name": values["name"]})
        raise AlreadyExists(text, field="name", object="dns-server")
    for other in others:
        if both := set(other.ranges) & set(values["ranges"]):
            data = {"name": other.name, "range": min(both)}
            raise AlreadyExists(
                Text("The name server “{name}” has the names of {range} already.", data),
                field="ranges",
                object="dns-server",
            )
    if "{domain}" in values["template"] and not values["domain"]:
        raise MissingValue("Say the domain that “{domain}” in the template is.", field="domain")
    if values["forward"] and not (values["domain"] and values["template"].endswith(f".{_domain_of(values)}")):
        raise InvalidValue(NO_FORWARD, field="forward")
    if values["make_zones"] and not values["zone_nameservers"]:
        raise MissingValue(NO_NAMESERVERS, field="zone_nameservers")


def _domain_of(values: Mapping[str, Any]) -> str:
    return "{domain}" if "{domain}" in values["template"] else str(values["domain"])


def add_server(values: Mapping[str, Any], key: str) -> DnsServer:
    """A name server; its records are made when a worker comes to it."""
    server = DnsServer.objects.create(**values, sealed=secretbox.seal({"key": key}), compare_at=timezone.now())
    _tell(server.pk)
    return server


def change_server(server: DnsServer, values: Mapping[str, Any], key: str | None) -> None:
    """The server as the values say; all that it has is looked at anew."""
    sealed = {"sealed": secretbox.seal({"key": key})} if key is not None else {}
    again = {"look_again": True, "compare_at": timezone.now(), "next_try_at": None}
    DnsServer.objects.filter(pk=server.pk).update(**values, **sealed, **again)
    _tell(server.pk)


def compare_server(server: DnsServer) -> None:
    """What the server has is compared now, also when it was to be tried later."""
    DnsServer.objects.filter(pk=server.pk).update(compare_at=timezone.now(), next_try_at=None)
    _tell(server.pk)


def remove_server(server: DnsServer, *, keep_records: bool) -> None:
    """Forget the server: at once, or once the panel's records are withdrawn from it."""
    if keep_records:
        forget(server.pk)
        return
    DnsServer.objects.filter(pk=server.pk).update(removing=True, look_again=True, next_try_at=None)
    _tell(server.pk)


def _tell(server_id: int) -> None:
    transaction.on_commit(lambda: live.publish("dns-server", {"id": server_id}))


def address_of(vm: Vm, ip: str) -> Address:
    """The VM's address; raises InvalidValue for one that it does not have."""
    held = InterfaceAddress.objects.filter(interface__vm=vm, address__ip=ip).select_related("address").first()
    if held is None:
        text = Text("The VM “{vm}” has no address {address}.", {"vm": vm.name, "address": ip})
        raise InvalidValue(text, field="address")
    return held.address


def refuse_name(viewer: User, vm: Vm, ip: str, name: str) -> None:
    """Raise InvalidValue where no server has the address's name, or the name is one that the panel itself gives out.

    Administrators may give any name.
    """
    address_of(vm, ip)
    servers = list(DnsServer.objects.filter(removing=False).order_by("pk"))
    found = wanted.server_of(servers, ip)
    if found is None:
        text = Text("No name server of the panel has the names of {address}.", {"address": ip})
        raise InvalidValue(text, field="address")
    if not name or name == wanted.usual_name(found[0], vm.name, ip) or permissions.allows(viewer, "cluster.manage"):
        return
    for server in servers:
        if server.domain and (name == server.domain or name.endswith(f".{server.domain}")):
            text = Text(
                "Names in {domain} are given by the panel itself: choose one of your own.", {"domain": server.domain}
            )
            raise InvalidValue(text, field="name")


def set_name(vm: Vm, ip: str, name: str) -> None:
    """The address has this name; with "" the one that it has without asking."""
    address = address_of(vm, ip)
    if name:
        ReverseName.objects.update_or_create(address=address, defaults={"vm": vm, "name": name})
    else:
        ReverseName.objects.filter(address=address).delete()
    Due.objects.create(vm_id=vm.pk)
