"""Which records shall be at which server: made of the addresses that VMs have, and of the names they were given."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import transaction
from django.db.models import F

from panel.dns import names
from panel.dns.models import DnsServer, Due, Record, RecordState, ReverseName
from panel.vms.models import InterfaceAddress

AT_ONCE = 200
"""VMs whose records are looked at in one transaction."""


class Wanted(NamedTuple):
    """A record that shall be."""

    server_id: int
    vm_id: int
    ip: str
    zone: str
    name: str
    type: str
    content: str


def note_due(vm_id: int) -> None:
    """The VM's records are looked at again; in the transaction that changes its addresses, name or owner."""
    if DnsServer.objects.exists():
        Due.objects.create(vm_id=vm_id)


def take_due() -> int:
    """Make the records of VMs that changed what they shall be; answers how many changes there were."""
    due = list(Due.objects.order_by("pk").values_list("pk", "vm_id")[:AT_ONCE])
    if due:
        refresh({vm_id for _pk, vm_id in due})
        # Those that were read: what changed since is due by another row.
        Due.objects.filter(pk__in=[pk for pk, _vm_id in due]).delete()
    return len(due)


def refresh_all() -> None:
    """Make all records what they shall be."""
    having = InterfaceAddress.objects.values_list("interface__vm_id", flat=True)
    ids = {*having.distinct(), *Record.objects.values_list("vm_id", flat=True).distinct()}
    for some in _some(sorted(ids)):
        refresh(some)


@transaction.atomic
def refresh(vm_ids: Iterable[int]) -> None:
    """The rows of these VMs' records are what shall be; servers follow (bringing.py)."""
    ids = sorted(vm_ids)
    # One at a time: whoever else does it waits here, and reads afterwards what was made.
    servers = list(DnsServer.objects.select_for_update().order_by("pk"))
    ReverseName.objects.filter(vm_id__in=ids).exclude(address__held__interface__vm_id=F("vm_id")).delete()
    wanted = {_key(each): each for each in wanted_of([each for each in servers if not each.removing], ids)}
    for row in Record.objects.filter(vm_id__in=ids):
        asked = wanted.pop(_key(row), None)
        if row.wanted != (asked is not None) or (asked is not None and asked.zone != row.zone):
            zone = asked.zone if asked is not None else row.zone
            again = {"state": RecordState.WAITING, "attempts": 0, "next_try_at": None}
            Record.objects.filter(pk=row.pk).update(wanted=asked is not None, zone=zone, **again)
    Record.objects.bulk_create([Record(**each._asdict()) for each in wanted.values()])


def _key(row: Wanted | Record) -> tuple[int, int, str, str, str]:
    return row.server_id, row.vm_id, row.type, row.name, row.content


def wanted_of(servers: Sequence[DnsServer], vm_ids: Iterable[int]) -> Iterable[Wanted]:
    """The records of these VMs' addresses."""
    held = InterfaceAddress.objects.filter(interface__vm_id__in=vm_ids).order_by("pk")
    rows = held.values_list("interface__vm_id", "interface__vm__name", "address__ip", "address__reverse_name__name")
    for vm_id, vm_name, ip, given in rows:
        if (found := server_of(servers, ip)) is None:
            continue
        server, range_ = found
        usual = usual_name(server, vm_name, ip)
        zone, name = names.pointer(ip, range_)
        if given or usual:
            yield Wanted(server.pk, vm_id, ip, zone, name, "PTR", f"{given or usual}.")
        if server.forward and usual:
            kind = "A" if ipaddress.ip_address(ip).version == 4 else "AAAA"
            yield Wanted(server.pk, vm_id, ip, f"{server.domain}.", f"{usual}.", kind, ip)


def server_of(servers: Sequence[DnsServer], ip: str) -> tuple[DnsServer, str] | None:
    """The server that has the address's name, with the range; the smallest range counts, then the first server."""
    found = [(server, range_) for server in servers if (range_ := names.longest_range(ip, server.ranges))]
    return max(found, key=lambda each: ipaddress.ip_network(each[1]).prefixlen, default=None)


def usual_name(server: DnsServer, vm_name: str, ip: str) -> str:
    """The name that the server's template makes of a VM's address; "" where it makes none, or none that could be."""
    if not server.template:
        return ""
    try:
        return names.host_name(names.filled(server.template, vm_name, ip, server.domain))
    except ValueError:
        return ""


def _some(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE))
