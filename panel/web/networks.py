"""The list of networks and the form for one more (one of them: network_page.py); the addresses that are in use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nodeagent.protocol.network import NAT
from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.core.errors import PanelError
from panel.dns.selectors import name_told, with_names
from panel.network.kinds import KINDS, Kind
from panel.network.models import Address, AddressTerm, Network
from panel.network.selectors import free_count, list_networks
from panel.tasks import registry
from panel.vms.models import Vm
from panel.vms.selectors import list_address_terms, list_addresses
from panel.web import buttons, dns
from panel.web.listing import Choices, Column, Filter, Listing, show
from panel.web.operation_form import OperationForm, field_of, style
from panel.web.rendering import need, page, viewer_of

MOST_TERMS = 10_000
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
    topics="node network",
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
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    return show(request, NETWORKS, "network_list.html", may_add=permissions.allows(viewer, "cluster.manage"))


class NewNetwork(OperationForm):
    """The form for a network of a kind: what all have, and the kind's options each by itself."""

    def __init__(self, viewer: User, kind: Kind, data: QueryDict | None) -> None:
        super().__init__(registry.get("network.add"), viewer, None, data)
        del self.fields["options"]
        self.fields["kind"].initial = kind.name
        self.options = list(kind.options.model_fields)
        for name, info in kind.options.model_fields.items():
            self.fields[name] = field_of(name, info, None)
            style(self.fields[name])
        self.order_fields(
            ["name", "kind", *self.options, "subnet", "gateway", "ranges", "excluded", "nameservers", "bridge"]
        )

    @property
    def raw(self) -> dict[str, Any]:
        """As the operation takes it."""
        filled = super().raw
        options = {name: str(filled.pop(name)) for name in self.options if name in filled}
        return {**filled, "options": options}


@login_required
def network_new(request: HttpRequest) -> HttpResponse:
    """The form for a new network, `?kind=` says of which kind; it leads to the network's page, where the steps are."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    data = request.POST if request.method == "POST" else None
    kind = KINDS.get((data or request.GET).get("kind", ""), KINDS[NAT])
    form = NewNetwork(viewer, kind, data)
    if data is None:
        return page(request, "network_new.html", regions={"network-new": "_network_new.html"}, form=form, kind=kind)
    if form.is_valid():
        try:
            task = form.operation.submit(viewer, form.raw)
        except PanelError as error:
            form.take(error, Redaction(viewer))
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("network", args=[task.object_id])
            return response
    return render(request, "_network_new.html", {"form": form, "kind": kind}, status=422)


def _vm(address: Address) -> Vm | None:
    held = getattr(address, "held", None)
    return held.interface.vm if held is not None else None


def _addresses(viewer: User, addresses: list[Address]) -> list[dict[str, Any]]:
    may = permissions.allows(viewer, "cluster.manage")
    return [
        {
            "address": each,
            "vm": _vm(each),
            "held": getattr(each, "held", None),
            "owner": _owner(each),
            "ptr": dns.told(name) if (name := name_told(each)) is not None else None,
            "actions": _actions(each) if may else [],
            "kept": _is_kept(each),
        }
        for each in addresses
    ]


def _is_kept(address: Address) -> bool:
    """Whether it is reserved or waits, so that there is more to say of it than whose it is."""
    return address.reserved or address.waits_until is not None


def _actions(address: Address) -> list[buttons.Button]:
    release = [("release-address", _("Release"))] if _is_kept(address) else []
    offered = [("change-address", _("Change")), *release]
    fixed, network = {"address": address.ip}, address.network
    return [
        buttons.of(registry.get(f"network.{verb}"), network, None, label=str(label), fixed=fixed, why_not="")
        for verb, label in offered
    ]


def _state(address: Address) -> str:
    if address.waits_until is not None:
        return f"waits until {address.waits_until.isoformat()}"
    if not address.reserved:
        return "in use"
    return f"reserved until {address.expires_at.isoformat()}" if address.expires_at else "reserved"


def _owner(address: Address) -> str:
    """Of the VM that has it, else for whom it is reserved."""
    if (vm := _vm(address)) is not None:
        return str(vm.owner.name)
    return str(address.owner.name) if address.owner is not None else ""


STATES: Choices = (("held", _("A VM has it")), ("reserved", _("Reserved")), ("waits", _("Waits")))


def _networks(viewer: User) -> Choices:
    return [(name, name) for name in list_networks(viewer).order_by("name").values_list("name", flat=True)]


def _in_state(found: QuerySet[Address], value: str) -> QuerySet[Address]:
    which = {"held": Q(held__isnull=False), "reserved": Q(reserved=True), "waits": Q(waits_until__isnull=False)}
    return found.filter(which.get(value, Q()))


ADDRESSES = Listing(
    name="addresses",
    title=_("Addresses"),
    rows=lambda viewer: with_names(list_addresses(viewer)),
    row="_address_row.html",
    topics="vm",
    columns=(
        Column("ip", _("Address"), "place", lambda address: address.ip, card="card-head"),
        Column("vm", _("Virtual machine"), text=lambda address: getattr(_vm(address), "name", ""), card="card-side"),
        Column("ptr", _("Reverse name"), text=lambda address: (address.ptr or "").removesuffix("."), card="card-line"),
        Column("mac", _("MAC address"), text=lambda address: address.held.interface.mac if _vm(address) else ""),
        Column("network", _("Network"), "network__name", lambda address: address.network.name, card="card-line"),
        Column("owner", _("Owner"), text=_owner, card="card-line"),
        Column("state", _("State"), text=_state, card="card-line"),
        Column("comment", _("Comment"), "comment", lambda address: address.comment, card="card-line"),
        Column("since", _("Since"), "allocated_at", lambda address: address.allocated_at.isoformat(), usual=False),
        Column("actions", _("Actions")),
    ),
    filters=(
        Filter("network", _("Network"), _networks, "network__name"),
        Filter("state", _("State"), lambda viewer: STATES, apply=_in_state),
    ),
    search=lambda found, text: found.filter(
        Q(ip__startswith=text)
        | Q(held__interface__vm__name__icontains=text)
        | Q(held__interface__vm__owner__name__icontains=text)
        | Q(held__interface__mac__istartswith=text)
        | Q(owner__name__icontains=text)
        | Q(comment__icontains=text)
    ),
    prepare=_addresses,
    empty=_("No address is in use."),
)


@login_required
def address_list(request: HttpRequest) -> HttpResponseBase:
    """The addresses that are in use, with who has them."""
    need(viewer_of(request), "vms.view")
    return show(request, ADDRESSES, "address_list.html")


def _at(found: QuerySet[AddressTerm], text: str) -> QuerySet[AddressTerm]:
    """Those of a moment in the reader's zone."""
    try:
        at = timezone.make_aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return found.none()
    return found.filter(Q(until=None) | Q(until__gt=at), since__lte=at)


HISTORY = Listing(
    name="address-history",
    title=_("History of addresses"),
    rows=list_address_terms,
    row="_address_term_row.html",
    topics="vm",
    order="-since",
    columns=(
        Column("ip", _("Address"), "ip", lambda term: term.ip),
        Column("vm", _("Virtual machine"), text=lambda term: term.vm_name),
        Column("mac", _("MAC address"), text=lambda term: term.mac),
        Column("network", _("Network"), text=lambda term: term.network),
        Column("owner", _("Owner"), text=lambda term: term.owner_name),
        Column("since", _("Since"), "since", lambda term: term.since.isoformat()),
        Column("until", _("Until"), text=lambda term: term.until.isoformat() if term.until else ""),
    ),
    filters=(Filter("at", _("At the time"), apply=_at, input="datetime-local"),),
    search=lambda found, text: found.filter(
        Q(ip__startswith=text) | Q(vm_name__icontains=text) | Q(owner_name__icontains=text) | Q(mac__istartswith=text)
    ),
    most=MOST_TERMS,
    empty=_("No VM had an address yet."),
)


@login_required
def address_history(request: HttpRequest) -> HttpResponseBase:
    """Who had which address when."""
    need(viewer_of(request), "vms.view")
    return show(request, HISTORY)
