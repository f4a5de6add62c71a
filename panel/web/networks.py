"""The lists of networks and of the addresses that are in use. They are read alone: networks come with the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.network.models import Address, Network
from panel.network.selectors import free_count, list_networks
from panel.vms.models import Vm
from panel.vms.selectors import list_addresses
from panel.web.listing import Choices, Column, Filter, Listing, show
from panel.web.rendering import need, viewer_of

MOST_COUNTED = 10**9
"""Free addresses that are told as a number: of IPv6 there are more than anybody reads."""


def _rows(viewer: User) -> QuerySet[Network]:
    return list_networks(viewer).prefetch_related("on_nodes__node")


def _prepare(viewer: User, networks: list[Network]) -> list[dict[str, Any]]:
    return [
        {
            "network": each,
            "free": (free := free_count(each)),
            "many": free > MOST_COUNTED,
            "failed": [on_node for on_node in each.on_nodes.all() if on_node.state != "ready"],
        }
        for each in networks
    ]


def _joined(found: Iterable[Any]) -> str:
    return " ".join(str(each) for each in found)


NETWORKS = Listing(
    name="networks",
    title=_("Networks"),
    rows=_rows,
    row="_network_row.html",
    topics="node",
    order="name",
    columns=(
        Column("name", _("Name"), "name", lambda network: network.name),
        Column("kind", _("Kind"), "kind", lambda network: network.kind),
        Column("bridge", _("Bridge"), "bridge", lambda network: network.bridge),
        Column("subnets", _("Subnets"), text=lambda network: _joined(network.subnets.all())),
        Column("ranges", _("Ranges"), text=lambda network: _joined(network.ranges)),
        Column("used", _("Addresses in use"), "used_count", lambda network: network.used_count),
        Column("free", _("Free"), text=free_count),
        Column("nodes", _("On nodes")),
    ),
    search=lambda found, text: found.filter(
        Q(name__icontains=text)
        | Q(bridge__icontains=text)
        | Q(pk__in=Network.objects.filter(subnets__cidr__startswith=text).values("pk"))
    ),
    prepare=_prepare,
    empty=_("No network yet. One is made with the first node."),
)


@login_required
def network_list(request: HttpRequest) -> HttpResponseBase:
    """The networks."""
    need(viewer_of(request), "cluster.view")
    return show(request, NETWORKS)


def _vm(address: Address) -> Vm | None:
    held = getattr(address, "held", None)
    return held.interface.vm if held is not None else None


def _addresses(viewer: User, addresses: list[Address]) -> list[dict[str, Any]]:
    return [{"address": each, "vm": _vm(each), "held": getattr(each, "held", None)} for each in addresses]


def _networks(viewer: User) -> Choices:
    return [(name, name) for name in list_networks(viewer).order_by("name").values_list("name", flat=True)]


ADDRESSES = Listing(
    name="addresses",
    title=_("Addresses"),
    rows=list_addresses,
    row="_address_row.html",
    topics="vm",
    columns=(
        Column("ip", _("Address"), "ip", lambda address: address.ip),
        Column("vm", _("Virtual machine"), text=lambda address: getattr(_vm(address), "name", "")),
        Column("mac", _("MAC address"), text=lambda address: address.held.interface.mac if _vm(address) else ""),
        Column("network", _("Network"), "network__name", lambda address: address.network.name),
        Column("owner", _("Owner"), text=lambda address: vm.owner.name if (vm := _vm(address)) else ""),
        Column("since", _("Since"), "allocated_at", lambda address: address.allocated_at.isoformat()),
    ),
    filters=(Filter("network", _("Network"), _networks, "network__name"),),
    search=lambda found, text: found.filter(
        Q(ip__startswith=text)
        | Q(held__interface__vm__name__icontains=text)
        | Q(held__interface__vm__owner__name__icontains=text)
        | Q(held__interface__mac__istartswith=text)
    ),
    prepare=_addresses,
    empty=_("No address is in use."),
)


@login_required
def address_list(request: HttpRequest) -> HttpResponseBase:
    """The addresses that are in use, with who has them."""
    need(viewer_of(request), "vms.view")
    return show(request, ADDRESSES)
