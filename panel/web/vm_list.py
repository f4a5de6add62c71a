"""The list of VMs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.images.models import Flavor
from panel.images.selectors import list_flavors, list_images
from panel.notices.models import Problem
from panel.tasks import registry
from panel.vms.models import Vm
from panel.vms.selectors import fitting, with_address
from panel.vms.told import told_vms
from panel.vms.usage import had
from panel.web import vm_row, words
from panel.web.listing import Choices, Column, Filter, Listing, named, show
from panel.web.rendering import viewer_of

GROUP = ("vm.start", "vm.stop", "vm.restart", "vm.force-off", "vm.delete")
"""What the list offers for all that are chosen in it."""
MOST_CHOICES, MOST_CALLED = 100, 500
NOT_LISTED = ("description", "boot_order", "drift", "unmanaged_snapshots")
"""Of what REST tells of a VM; most of it would have to be parsed for each row."""
WITH, WITHOUT = "yes", "no"
PROBLEMS = ((WITH, _("With a problem")), (WITHOUT, _("Without one")))


def _rows(viewer: User) -> QuerySet[Vm]:
    return told_vms(viewer).defer(*NOT_LISTED)


def _nodes(viewer: User) -> Choices:
    """The nodes; of more than so many one types the name: each would be an element of every list."""
    names = list_nodes(viewer).order_by("name").values_list("name", flat=True)[: MOST_CHOICES + 1]
    return [(name, name) for name in names] if len(names) <= MOST_CHOICES else ()


def _may_know_nodes(viewer: User) -> bool:
    return permissions.allows(viewer, "cluster.view")


def _on_node(found: QuerySet[Vm], name: str) -> QuerySet[Vm]:
    return found.filter(node__in=_called(Node.objects.all(), name))


def _called(named: QuerySet[Any], name: str) -> list[int]:
    """The ids of what has this name, or of what begins with it where nothing is called so."""
    exactly = named.filter(name=name)
    found = exactly if exactly.exists() else named.filter(name__istartswith=name)
    return list(found.values_list("pk", flat=True)[:MOST_CALLED])


def _images(viewer: User) -> Choices:
    return list(list_images(viewer).values_list("name", "title"))


def _plans(viewer: User) -> Choices:
    return [(each.name, each.name) for each in list_flavors(viewer)]


def _of_plan(found: QuerySet[Vm], name: str) -> QuerySet[Vm]:
    """Those of the plan's size: a VM may have come by it otherwise, and its plan may have changed since."""
    plan = Flavor.objects.filter(name=name).first()
    return found.filter(memory_mib=plan.memory_mib, vcpus=plan.vcpus) if plan is not None else found.none()


def _problems(viewer: User) -> Choices:
    # They are the cluster's.
    return PROBLEMS if _may_know_nodes(viewer) else ()


def _with_problem(found: QuerySet[Vm], value: str) -> QuerySet[Vm]:
    about = Problem.objects.filter(open_key__isnull=False, object_type="vm").order_by()
    ids = [each for each in about.values_list("object_id", flat=True) if each is not None]
    return found.filter(pk__in=ids) if value == WITH else found.exclude(pk__in=ids)


def _sees_all(viewer: User) -> bool:
    return viewer.sees_all


def _owned_by(found: QuerySet[Vm], name: str) -> QuerySet[Vm]:
    return found.filter(owner__in=_called(User.objects.all(), name))


def _addresses(vm: Vm) -> str:
    return " ".join(ip for interface in vm.told_interfaces for ip in interface.ips)


LISTING = Listing(
    name="vms",
    title=_("Virtual machines"),
    rows=_rows,
    topics="vm task",
    kind="vm",
    order="name",
    columns=(
        Column("name", _("Name"), "name", lambda vm: vm.name, card="card-head"),
        Column("status", _("Status"), "status", lambda vm: vm.status, card="card-side"),
        Column("addresses", _("Addresses"), text=_addresses, card="card-line"),
        Column("image", _("Image"), text=lambda vm: vm.image.name if vm.image else ""),
        Column("vcpus", _("CPUs"), "vcpus", lambda vm: had(vm, "vcpus")),
        Column("memory", _("Memory"), "memory_mib", lambda vm: had(vm, "memory_mib")),
        Column(
            "disks",
            _("Disks"),
            text=lambda vm: " ".join(f"{each.volume.size_gib} GiB" for each in vm.told_disks),
        ),
        Column("node", _("Node"), text=lambda vm: vm.node.name, of_nodes=True, card="card-line"),
        Column("owner", _("Owner"), text=lambda vm: vm.owner.name, card="card-line"),
        Column("created", _("Created"), "created_at", lambda vm: vm.created_at.isoformat(), usual=False),
        Column("task", _("Task"), card="card-end"),
    ),
    filters=(
        Filter("status", _("Status"), named(words.STATUSES), "status"),
        Filter("node", _("Node"), _nodes, apply=_on_node, input="search", is_for=_may_know_nodes),
        Filter("problem", _("Problems"), _problems, apply=_with_problem),
        Filter("image", _("Image"), _images, "image__name", usual=False),
        Filter("plan", _("Size of the plan"), _plans, apply=_of_plan, usual=False),
        Filter("owner", _("Owner"), apply=_owned_by, input="search", usual=False, is_for=_sees_all),
        Filter("address", _("Address"), apply=with_address, input="search", usual=False),
    ),
    search=fitting,
    draw=vm_row.drawn,
    empty=_("No virtual machine yet."),
)


@login_required
def vm_list(request: HttpRequest) -> HttpResponseBase:
    """The VMs."""
    viewer = viewer_of(request)
    group = [each for each in registry.for_object("vm", viewer) if each.name in GROUP]
    return show(
        request,
        LISTING,
        "vm_list.html",
        group=sorted(group, key=lambda each: GROUP.index(each.name)),
        plural="vms",
        may_create=permissions.allows(viewer, "vms.create"),
    )
