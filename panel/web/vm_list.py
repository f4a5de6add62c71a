"""The list of VMs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.images.models import Image
from panel.images.selectors import list_images
from panel.monitoring.statistics.selectors import warnings
from panel.tasks import registry
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Vm
from panel.vms.selectors import fitting
from panel.vms.told import told_vms
from panel.web import words
from panel.web.listing import Column, Filter, Listing, show
from panel.web.rendering import viewer_of
from panel.web.templatetags.units import MIB_A_GIB, mib

GROUP = ("vm.start", "vm.stop", "vm.restart", "vm.force-off", "vm.delete")
"""What the list offers for all that are chosen in it."""


def _statuses(viewer: User) -> list[tuple[str, Any]]:
    return list(words.STATUSES.items())


def _nodes(viewer: User) -> list[tuple[str, Any]]:
    return [(name, name) for name in list_nodes(viewer).order_by("name").values_list("name", flat=True)]


def _images(viewer: User) -> list[tuple[str, Any]]:
    return list(list_images(viewer).values_list("name", "title"))


def _prepare(viewer: User, vms: list[Vm]) -> list[dict[str, Any]]:
    tasks = open_tasks_of("vm", [vm.pk for vm in vms])
    # Once for all rows: what a template does in each cell costs more than all queries together.
    labels = {each.name: str(each.label) for each in LISTING.columns}
    titles: dict[int | None, str] = dict(Image.objects.values_list("pk", "title"))
    choose = gettext("Choose %(name)s")
    return [
        {
            "vm": vm,
            "choose": choose % {"name": vm.name},
            "image": titles.get(vm.image_id, "–"),
            "disks": ", ".join(mib(each.volume.size_gib * MIB_A_GIB) for each in vm.told_disks),
            "task": tasks.get(vm.pk),
            "warnings": warnings(vm),
            "labels": labels,
        }
        for vm in vms
    ]


def _addresses(vm: Vm) -> str:
    return " ".join(ip for interface in vm.told_interfaces for ip in interface.ips)


LISTING = Listing(
    name="vms",
    title=_("Virtual machines"),
    rows=told_vms,
    row="_vm_row.html",
    topics="vm task",
    kind="vm",
    order="name",
    columns=(
        Column("name", _("Name"), "name", lambda vm: vm.name),
        Column("status", _("Status"), "status", lambda vm: vm.status),
        Column("addresses", _("Addresses"), text=_addresses),
        Column("image", _("Image"), text=lambda vm: vm.image.name if vm.image else ""),
        Column("vcpus", _("CPUs"), "vcpus", lambda vm: vm.vcpus),
        Column("memory", _("Memory"), "memory_mib", lambda vm: vm.memory_mib),
        Column(
            "disks",
            _("Disks"),
            text=lambda vm: " ".join(f"{each.volume.size_gib} GiB" for each in vm.told_disks),
        ),
        Column("node", _("Node"), text=lambda vm: vm.node.name, of_nodes=True),
        Column("owner", _("Owner"), text=lambda vm: vm.owner.name),
        Column("created", _("Created"), "created_at", lambda vm: vm.created_at.isoformat(), usual=False),
        Column("task", _("Task")),
    ),
    filters=(
        Filter("status", _("Status"), _statuses, "status"),
        Filter("node", _("Node"), _nodes, "node__name"),
        Filter("image", _("Image"), _images, "image__name"),
    ),
    search=fitting,
    prepare=_prepare,
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
