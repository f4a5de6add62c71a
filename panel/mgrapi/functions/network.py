"""`iplist`, `iplist.edit`, `iplist.delete`: the addresses of VMs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import CapacityError, InvalidValue, NotFound
from panel.core.wording import Text, one_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import MOST_ROWS, listed
from panel.network.models import Address, Network
from panel.network.ranges import purpose_of
from panel.network.selectors import in_range, list_networks, network_with
from panel.tasks import registry
from panel.vms.models import Interface, Vm
from panel.vms.selectors import get_vm, list_addresses

DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?\Z", re.I
)
FAMILIES = {"ipv4": 4, "ipv6": 6}
FAMILY_WORDS = {"ipv4": "IPv4", "ipv6": "IPv6"}
TYPES = ("public", "private", "nat")
SPECIAL = "special"
"""The family of an address that is named."""
FILTERS = {"id": "pk", "ip": "ip", "name": "ip"}


def check_domain(call: Call) -> None:
    """Raise InvalidValue for a domain that is no host name."""
    if (domain := call.text("domain")) and not DOMAIN.match(domain):
        raise InvalidValue("“domain” must be a host name.", field="domain")


@dataclass(frozen=True)
class Place:
    """Where a new address shall be: a network, and an address of it, None for any."""

    network: str | None
    address: str | None = None
    purpose: str | None = None


def place_of(viewer: User, call: Call) -> Place:
    """What `family`, `iptype` and `ip` ask for.

    `family` is ipv4, ipv6, a network (its name, number or range), or `special`, where `ip` alone says it. `iptype`
    chooses among several: the one that ClassicIpTypes says, else the first that is so, else the first. What is
    named, or has `ip`, is taken whatever `iptype` says.

    Raises InvalidValue, MissingValue or NotFound where no network is so.
    """
    family, kind = call.text("family"), call.text("iptype").lower()
    if kind and kind not in TYPES:
        raise InvalidValue(one_of("iptype", TYPES), field="iptype")
    address = "" if call.text("ip").lower() == "auto" else call.text("ip")
    if family.lower() == SPECIAL:
        family, address = "", address or call.need("ip")
    if not family and not kind:
        return Place(None, address or None)
    networks = _of_family(list(list_networks(viewer).order_by("pk")[:MOST_ROWS]), family)
    by_address = network_with(networks[0].cluster, address) if networks else None
    network = next((each for each in networks if each == by_address), None) or _of_type(networks, family, kind)
    purpose = kind if network is not None and not address and kind in _purposes(network) else None
    return Place(network.name if network else None, address or None, purpose)


def _purposes(network: Network) -> set[str]:
    """What the network's ranges are for, where that says more than its kind."""
    return set() if network.of_kind.translated else {purpose_of(pool) for pool in network.ranges}


def _of_family(networks: list[Network], family: str) -> list[Network]:
    """Those of the family; raises InvalidValue or NotFound for none."""
    if not family:
        return networks
    if version := FAMILIES.get(family.lower()):
        if not (found := [each for each in networks if version in each.versions]):
            raise InvalidValue(
                Text("The cluster has no network of the family “{family}”.", {"family": family}), field="family"
            )
    elif not (found := [each for each in networks if family in (each.name, str(each.pk)) or _is_range(each, family)]):
        raise NotFound(object="network", id=family[:64], field="family")
    return found


def _is_range(network: Network, family: str) -> bool:
    """Whether it is the network's range, written as a CIDR with any address of it."""
    try:
        asked = ipaddress.ip_network(family, strict=False)
        return "/" in family and asked in [each.parsed for each in network.subnets.all()]
    except ValueError:
        return False


def _of_type(networks: list[Network], family: str, kind: str) -> Network | None:
    """The first that has such addresses, else what ClassicIpTypes says, else the first; raises InvalidValue."""
    meant = settings.CONFIG.classic_ip_types.get(kind)
    if meant is None or (family and family.lower() not in FAMILIES):
        return next((each for each in networks if kind in types_of(each)), next(iter(networks), None))
    if (found := next((each for each in networks if each.name == meant), None)) is None:
        raise InvalidValue(
            Text(
                "There is no such network “{network}”, which ClassicIpTypes names for “{kind}”.",
                {"network": meant, "kind": kind},
            ),
            field="iptype",
        )
    return found


def family_choices(viewer: User) -> dict[str, str]:
    """What `family` may be: a version of IP, a network, or the one of a given address."""
    networks = {each.name: each.name for each in list_networks(viewer)[:MOST_ROWS]}
    return {**FAMILY_WORDS, **networks, SPECIAL: "The address of “ip”"}


def types_of(network: Network) -> tuple[str, ...]:
    """What VMmanager would call the network's addresses: `nat` ones are private too."""
    if network.of_kind.translated:
        return ("nat", "private")
    if purposes := _purposes(network):
        return tuple(sorted(purposes, reverse=True))
    return ("private",) if all(each.parsed.is_private for each in network.subnets.all()) else ("public",)


def type_of(network: Network, ip: str) -> str:
    """What VMmanager would call the address."""
    if network.of_kind.translated:
        return "nat"
    pool = next((each for each in network.ranges if in_range(each, ipaddress.ip_address(ip))), None)
    if pool is not None:
        return purpose_of(pool)
    return "private" if ipaddress.ip_address(ip).is_private else "public"


def _row(address: Address) -> Mapping[str, Cell]:
    interface, subnet = address.held.interface, address.network.subnet_with(address.ip)
    return {
        "id": address.pk,
        "name": address.ip,
        "ip": address.ip,
        "domain": interface.vm.name,
        "vm": interface.vm_id,
        "family": address.network.name,
        "iptype": type_of(address.network, address.ip),
        "mac": interface.mac,
        "gateway": (subnet.gateway if subnet else None) or "",
        "mask": str(subnet.parsed.netmask) if subnet else "",
    }


def _held(viewer: User) -> QuerySet[Address]:
    """The addresses of VMs that the viewer sees, interface by interface, the primary ones first."""
    found = list_addresses(viewer).filter(held__isnull=False)
    order = ("held__interface__vm", "held__interface__position", F("held__primary").asc(nulls_last=True), "pk")
    return found.prefetch_related("network__subnets__ranges").order_by(*order)


def iplist(viewer: User, call: Call) -> Rows:
    """The addresses of the VM `plid` (or `elid`), or of all that the viewer sees."""
    found = _held(viewer)
    if name := next((each for each in ("plid", "elid") if call.text(each)), ""):
        found = found.filter(held__interface__vm=get_vm(viewer, call.id(name)).pk)
    return listed(call, found, _row, FILTERS)


def iplist_edit(viewer: User, call: Call) -> Answer:
    """Without `elid` one more address for the VM `plid`; with it, what is known of an address."""
    if call.text("elid"):
        return _known(viewer, call)
    vm = get_vm(viewer, call.id("plid"))
    if not call.sok:
        return Form({"plid": vm.pk, "family": "ipv4", "domain": vm.name}, {"family": family_choices(viewer)})
    check_domain(call)
    asked = place_of(viewer, call)
    task = _added(viewer, vm, asked, 6 if call.text("family").lower() == "ipv6" else 4)
    made = Address.objects.select_related("network").get(network=task[0], ip=task[1])
    return Done({"id": made.pk, "elid": made.pk, **became_of(made.network, made.ip)})


def _added(viewer: User, vm: Vm, asked: Place, version: int) -> tuple[int, str]:
    """The network and the address that the VM gets besides: on its interface there, or on a new one."""
    networks = vm.interfaces.order_by("position")
    place = network_with(vm.cluster, asked.address) if asked.address and not asked.network else None
    name = place.name if place is not None else asked.network
    there = networks.filter(network__name=name).first() if name else networks.first()
    if there is not None and versions_of(there.network) >= {version}:
        raw: dict[str, object] = {"interface": there.mac, "version": version, "address": asked.address}
        task = registry.get("vm.add-address").submit(viewer, raw, object_id=vm.pk)
        return there.network_id, task.steps.get(position=0).output["result"]["address"]
    task = registry.get("vm.add-interface").submit(viewer, asdict(asked), object_id=vm.pk)
    interface = Interface.objects.get(pk=task.steps.get(position=0).output["interface"])
    if interface.ip is None:
        raise CapacityError(
            Text("The network “{network}” gives out no addresses.", {"network": interface.network.name}),
            field="family",
            candidates={},
        )
    return interface.network_id, interface.ip


def versions_of(network: Network) -> set[int]:
    """Of which versions of IP the network gives out addresses."""
    return {pool.subnet.version for pool in network.ranges}


def became(interface: Interface | None) -> Mapping[str, Cell]:
    """Which address was given, of what kind, and of which network: clients ask for kinds that may not be here."""
    return became_of(interface.network, interface.ip) if interface is not None else {}


def became_of(network: Network, ip: str | None) -> Mapping[str, Cell]:
    """The same of an address."""
    kind = type_of(network, ip) if ip else types_of(network)[0]
    return {"ip": ip or "", "iptype": kind, "family": network.name}


def _known(viewer: User, call: Call) -> Form:
    address = _held(viewer).filter(pk=call.id()).first()
    if address is None:
        raise NotFound(object="ip", id=call.id())
    if call.sok:
        raise InvalidValue("An address cannot be changed; a VM's domain is its name.", field="elid")
    return Form({"elid": address.pk, "plid": address.held.interface.vm_id, **_row(address)})


def iplist_delete(viewer: User, call: Call) -> Done:
    """The addresses are free again, and interfaces gone that have no other."""
    permissions.require(viewer, "vms.devices")
    there = _held(viewer).in_bulk(call.ids())
    for pk in call.ids():
        if pk not in there:
            raise NotFound(object="ip", id=pk)
    with transaction.atomic():
        for interface in {each.held.interface for each in there.values()}:
            _remove(viewer, interface, [pk for pk, each in there.items() if each.held.interface == interface], there)
    return Done()


def _remove(viewer: User, interface: Interface, ids: list[int], there: Mapping[int, Address]) -> None:
    """These addresses of the interface, or all of it."""
    if len(ids) == interface.held.count():
        raw = {"interface": interface.mac}
        registry.get("vm.remove-interface").submit(viewer, raw, object_id=interface.vm_id, queue=True)
        return
    for pk in ids:
        raw = {"address": there[pk].ip}
        registry.get("vm.remove-address").submit(viewer, raw, object_id=interface.vm_id, queue=True)


FUNCTIONS = {"iplist": iplist, "iplist.edit": iplist_edit, "iplist.delete": iplist_delete}
