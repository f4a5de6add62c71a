"""`iplist`, `iplist.edit`: the addresses of VMs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from panel.accounts.models import User
from panel.core.errors import InvalidValue, NotFound
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
FILTERS = {"id": "pk", "ip": "address__ip", "name": "address__ip"}


def check_domain(call: Call) -> None:
    """Raise InvalidValue for a domain that is no host name."""
    if (domain := call.text("domain")) and not DOMAIN.match(domain):
        raise InvalidValue("“domain” must be a host name.", field="domain")


def network_of(viewer: User, call: Call, ip: str = "") -> str | None:
    """The name of the network that `family` (ipv4, ipv6, or a network) and `iptype` ask for; None for any.

    Of several the first, or the one that has the address `ip` in its ranges.

    Raises InvalidValue or NotFound where no network is so.
    """
    family, kind = call.text("family"), call.text("iptype").lower()
    if kind and kind not in TYPES:
        raise InvalidValue(f"“iptype” must be one of {', '.join(TYPES)}.", field="iptype")
    if not family and not kind:
        return None
    networks = list(list_networks(viewer).order_by("pk")[:MOST_ROWS])
    if family and family.lower() not in FAMILIES:
        networks = [each for each in networks if family in (each.name, str(each.pk))]
        if not networks:
            raise NotFound(object="network", id=family[:64], field="family")
    elif family:
        networks = [each for each in networks if _version(each) == FAMILIES[family.lower()]]
        if not networks:
            raise InvalidValue(f"The cluster has no network of the family “{family}”.", field="family")
    if kind:
        networks = [each for each in networks if kind in types_of(each)]
        if not networks:
            raise InvalidValue(f"The cluster has no such network with {kind} addresses.", field="iptype")
    by_address = network_with(networks[0].cluster, ip)
    return next((each.name for each in networks if each == by_address), networks[0].name)


def family_choices(viewer: User) -> dict[str, str]:
    """What `family` may be: a version of IP, or a network."""
    return {**FAMILY_WORDS, **{each.name: each.name for each in list_networks(viewer)[:MOST_ROWS]}}


def _version(network: Network) -> int:
    return ipaddress.ip_network(network.subnet).version


def types_of(network: Network) -> tuple[str, ...]:
    """What VMmanager would call the network's addresses: `nat` ones are private too."""
    if network.kind == "nat":
        return ("nat", "private")
    return ("private",) if ipaddress.ip_network(network.subnet).is_private else ("public",)


def _row(interface: Interface) -> Mapping[str, Cell]:
    return {
        "id": interface.pk,
        "name": interface.address.ip,
        "ip": interface.address.ip,
        "domain": interface.vm.name,
        "vm": interface.vm_id,
        "family": interface.network.name,
        "iptype": types_of(interface.network)[0],
        "mac": interface.mac,
        "gateway": interface.network.gateway,
        "mask": str(ipaddress.ip_network(interface.network.subnet).netmask),
    }


def iplist(viewer: User, call: Call) -> Rows:
    """The addresses of the VM `plid`, or of all that the viewer sees."""
    found = list_interfaces(viewer)
    if call.text("plid"):
        found = found.filter(vm_id=get_vm(viewer, call.id("plid")).pk)
    return listed(call, found, _row, FILTERS)


def iplist_edit(viewer: User, call: Call) -> Answer:
    """Without `elid` one more address for the VM `plid`; with it, what is known of an address."""
    if call.text("elid"):
        return _known(viewer, call)
    vm = get_vm(viewer, call.id("plid"))
    if not call.sok:
        return Form({"plid": vm.pk, "family": "ipv4", "domain": vm.name}, {"family": family_choices(viewer)})
    check_domain(call)
    asked = {"network": network_of(viewer, call)}
    task = registry.get("vm.add-interface").submit(viewer, asked, object_id=vm.pk)
    made = task.steps.get(position=0).output
    return Done({"id": made["interface"], "elid": made["interface"], "ip": made["result"]["address"]})


def _known(viewer: User, call: Call) -> Form:
    interface = list_interfaces(viewer).filter(pk=call.id()).first()
    if interface is None:
        raise NotFound(object="ip", id=call.id())
    if call.sok:
        raise InvalidValue("An address cannot be changed; a VM's domain is its name.", field="elid")
    return Form({"elid": interface.pk, "plid": interface.vm_id, **_row(interface)})


FUNCTIONS = {"iplist": iplist, "iplist.edit": iplist_edit}
