"""Reading name servers and their records, for who sees the cluster; the names of addresses, for whose they are."""

from __future__ import annotations

from typing import TypedDict

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from panel.accounts.models import User
from panel.core import kinds, permissions
from panel.core.errors import NotFound
from panel.dns.models import DnsServer, Record, RecordState
from panel.dns.wanted import server_of
from panel.network.models import Address
from panel.vms.models import InterfaceAddress, Vm


class NameTold(TypedDict):
    """The name of an address: what it is or shall be, how far its record is, and whether somebody gave it."""

    name: str
    state: str
    given: bool


def list_servers(viewer: User) -> QuerySet[DnsServer]:
    """All name servers, each with how many records it shall have, and how many of them are not there."""
    permissions.require(viewer, "cluster.view")
    late = Q(records__wanted=True) & ~Q(records__state=RecordState.DONE)
    return DnsServer.objects.annotate(
        record_count=Count("records", filter=Q(records__wanted=True)), late_count=Count("records", filter=late)
    )


def find_server(viewer: User, server_id: int) -> DnsServer | None:
    """One name server, None where there is none for the viewer."""
    if not permissions.allows(viewer, "cluster.view"):
        return None
    return list_servers(viewer).filter(pk=server_id).first()


def get_server(viewer: User, server_id: int) -> DnsServer:
    """One name server; raises NotFound."""
    if (found := find_server(viewer, server_id)) is None:
        raise NotFound(object="dns-server", id=server_id)
    return found


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The first name servers that fit what somebody types."""
    if not permissions.allows(viewer, "cluster.view"):
        return []
    found = DnsServer.objects.filter(Q(name__icontains=text) | Q(domain__icontains=text)).order_by("name")
    return list(found.values_list("pk", "name", "url")[: kinds.MOST_FOUND])


def with_names(addresses: QuerySet[Address]) -> QuerySet[Address]:
    """The addresses each with its name at a name server (`ptr`) and how far that is (`ptr_state`)."""
    record = Record.objects.filter(
        type="PTR", wanted=True, ip=OuterRef("ip"), vm_id=OuterRef("held__interface__vm_id")
    ).order_by("pk")
    return addresses.annotate(
        ptr=Subquery(record.values("content")[:1]), ptr_state=Subquery(record.values("state")[:1])
    )


def name_told(address: Address) -> NameTold | None:
    """The name of an address that with_names() read."""
    name, state = getattr(address, "ptr", None), getattr(address, "ptr_state", None)
    return {"name": name.removesuffix("."), "state": str(state), "given": False} if name else None


def names_of(vm: Vm) -> dict[str, NameTold]:
    """The names of the VM's addresses by these, "" where one has none yet; none of those whose names no server has."""
    servers = list(DnsServer.objects.filter(removing=False).order_by("pk"))
    if not servers:
        return {}
    held = InterfaceAddress.objects.filter(interface__vm=vm)
    given = dict(held.values_list("address__ip", "address__reverse_name__name"))
    found: dict[str, NameTold] = {
        ip: {"name": "", "state": RecordState.DONE, "given": bool(given[ip])} for ip in given if server_of(servers, ip)
    }
    for row in Record.objects.filter(vm_id=vm.pk, type="PTR", wanted=True, ip__in=found):
        found[row.ip] |= {"name": row.content.removesuffix("."), "state": row.state}
    return found
