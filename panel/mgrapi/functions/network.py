"""`iplist`, `iplist.edit`, `iplist.delete`: the addresses of VMs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from django.conf import settings
from django.db import transaction

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.core.wording import Text, one_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import MOST_ROWS, listed
from panel.network.models import Network
from panel.network.selectors import list_networks, network_with
from panel.tasks import registry
from panel.vms.models import Interface
from panel.vms.selectors import get_vm, list_interfaces

DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?\Z", re.I
)
FAMILIES = {"ipv4": 4, "ipv6": 6}
FAMILY_WORDS = {"ipv4": "IPv4", "ipv6": "IPv6"}
TYPES = ("public", "private", "nat")
SPECIAL = "special"
"""The family of an address that is named."""
FILTERS = {"id": "pk", "ip": "held__address__ip", "name": "held__address__ip"}


def check_domain(call: Call) -> None:
    """Raise InvalidValue for a domain that is no host name."""
    if (domain := call.text("domain")) and not DOMAIN.match(domain):
        raise InvalidValue("“domain” must be a host name.", field="domain")


@dataclass(frozen=True)
class Place:
    """Where a new address shall be: a network, and an address of it, None for any."""

    network: str | None
    address: str | None = None


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
    return Place(network.name if network else None, address or None)


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
    return ("private",) if all(each.parsed.is_private for each in network.subnets.all()) else ("public",)


def _row(interface: Interface) -> Mapping[str, Cell]:
    subnet = interface.network.subnet_with(interface.ip) if interface.ip else None
    return {
        "id": interface.pk,
        "name": interface.ip or "",
        "ip": interface.ip or "",
        "domain": interface.vm.name,
        "vm": interface.vm_id,
        "family": interface.network.name,
        "iptype": types_of(interface.network)[0],
        "mac": interface.mac,
        "gateway": (subnet.gateway if subnet else None) or "",
        "mask": str(subnet.parsed.netmask) if subnet else "",
    }


def iplist(viewer: User, call: Call) -> Rows:
    """The addresses of the VM `plid` (or `elid`), or of all that the viewer sees."""
    found = list_interfaces(viewer)
    if name := next((each for each in ("plid", "elid") if call.text(each)), ""):
        found = found.filter(vm_id=get_vm(viewer, call.id(name)).pk)
    return listed(call, found, _row, FILTERS)


def iplist_edit(viewer: User, call: Call) -> Answer:
    """Without `elid` one more address for the VM `plid`; with it, what is known of an address."""
    if call.text("elid"):
        return _known(viewer, call)
    vm = get_vm(viewer, call.id("plid"))
    if not call.sok:
        return Form({"plid": vm.pk, "family": "ipv4", "domain": vm.name}, {"family": family_choices(viewer)})
    check_domain(call)
    asked = asdict(place_of(viewer, call))
    task = registry.get("vm.add-interface").submit(viewer, asked, object_id=vm.pk)
    made = task.steps.get(position=0).output["interface"]
    return Done({"id": made, "elid": made, **became(Interface.objects.get(pk=made))})


def became(interface: Interface | None) -> Mapping[str, Cell]:
    """Which address was given, of what kind, and of which network: clients ask for kinds that may not be here."""
    if interface is None:
        return {}
    network = interface.network
    return {"ip": interface.ip or "", "iptype": types_of(network)[0], "family": network.name}


def _known(viewer: User, call: Call) -> Form:
    interface = list_interfaces(viewer).filter(pk=call.id()).first()
    if interface is None:
        raise NotFound(object="ip", id=call.id())
    if call.sok:
        raise InvalidValue("An address cannot be changed; a VM's domain is its name.", field="elid")
    return Form({"elid": interface.pk, "plid": interface.vm_id, **_row(interface)})


def iplist_delete(viewer: User, call: Call) -> Done:
    """The addresses are free again, and their interfaces gone."""
    permissions.require(viewer, "vms.devices")
    there = list_interfaces(viewer).in_bulk(call.ids())
    for pk in call.ids():
        if pk not in there:
            raise NotFound(object="ip", id=pk)
    with transaction.atomic():
        for each in (there[pk] for pk in call.ids()):
            asked = {"interface": each.mac}
            registry.get("vm.remove-interface").submit(viewer, asked, object_id=each.vm_id, queue=True)
    return Done()


FUNCTIONS = {"iplist": iplist, "iplist.edit": iplist_edit, "iplist.delete": iplist_delete}
