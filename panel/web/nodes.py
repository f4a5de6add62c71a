"""The list of nodes with what each has left."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.web import words
from panel.web.listing import Choices, Column, Filter, Listing, named, show
from panel.web.meters import rows_of
from panel.web.rendering import need, viewer_of

MAINTENANCE, IN_SERVICE = "yes", "no"


def _maintenance(viewer: User) -> Choices:
    return [(MAINTENANCE, _("In maintenance")), (IN_SERVICE, _("In service"))]


def _in_maintenance(found: QuerySet[Node], value: str) -> QuerySet[Node]:
    return found.filter(maintenance=value == MAINTENANCE)


def _search(found: QuerySet[Node], text: str) -> QuerySet[Node]:
    """By a part of the name or the address."""
    return found.filter(Q(name__icontains=text) | Q(address__icontains=text))


def _fact(name: str) -> Any:
    return lambda node: node.facts.get(name) or ""


def _storages(node: Node) -> str:
    return " ".join(f"{each.pool.name}: {each.free_bytes}/{each.capacity_bytes}" for each in node.pools.all())


LISTING = Listing(
    name="nodes",
    title=_("Nodes"),
    rows=list_nodes,
    row="_node_row.html",
    topics="node problem",
    order="name",
    columns=(
        Column("name", _("Name"), "name", lambda node: node.name, card="card-head"),
        Column("state", _("State"), "state", lambda node: node.state, card="card-side"),
        Column("address", _("Address"), "address", lambda node: node.address, card="card-line"),
        Column("vms", _("VMs"), card="card-line"),
        Column("cpu", _("CPUs promised"), text=_fact("cpu_count")),
        Column("memory", _("Memory"), text=_fact("memory_mib")),
        Column("storage", _("Storage"), text=_storages),
        Column("problems", _("Problems"), card="card-line"),
        Column("system", _("System"), text=_fact("os_name"), usual=False),
        Column("libvirt", "libvirt", text=_fact("libvirt_version"), usual=False),
        Column("qemu", "QEMU", text=_fact("qemu_version"), usual=False),
        Column("checked", _("Last check"), "facts_at", lambda node: node.facts_at or "", usual=False),
    ),
    filters=(
        Filter("state", _("State"), named(words.NODE_STATES), "state"),
        Filter("maintenance", _("Maintenance"), _maintenance, apply=_in_maintenance),
    ),
    search=_search,
    prepare=rows_of,
    empty=_("No node yet. Add the first one: VMs run on nodes."),
)


@login_required
def node_list(request: HttpRequest) -> HttpResponseBase:
    """The nodes."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    return show(request, LISTING, "node_list.html", may_add=permissions.allows(viewer, "cluster.manage"))


class NodeSettings(forms.ModelForm):  # type: ignore[type-arg]
    """What may be chosen for a node at any time, as REST has it."""

    class Meta:
        model = Node
        fields = ("name", "max_vms")
        labels = {"name": _("Name"), "max_vms": _("Most VMs")}
        help_texts = {"max_vms": _("Empty: any number.")}
        error_messages = {"name": {"unique": _("Another node has this name.")}}
        widgets = {
            "name": forms.TextInput(attrs={"class": "form-control"}),
            "max_vms": forms.NumberInput(attrs={"class": "form-control", "min": 0}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["max_vms"].required = False
