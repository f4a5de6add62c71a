"""The lists of what VMs are made of: images and plans."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.images.selectors import list_flavors, list_images
from panel.web.listing import Column, Listing, show
from panel.web.rendering import need, viewer_of

IMAGES = Listing(
    name="images",
    title=_("Images"),
    rows=list_images,
    row="_image_row.html",
    order="title",
    columns=(
        Column("title", _("Title"), "title", lambda image: image.title),
        Column("name", _("Name"), "name", lambda image: image.name),
        Column("family", _("System"), "os_family", lambda image: image.os_family),
        Column("login", _("User in the guest"), "login", lambda image: image.login),
        Column("size", _("Size of the file"), "size_bytes", lambda image: image.size_bytes),
        Column("disk", _("Smallest disk"), "min_disk_gib", lambda image: image.min_disk_gib),
        Column("memory", _("Least memory"), "min_memory_mib", lambda image: image.min_memory_mib),
        Column("customization", _("Made its own by"), "customization", lambda image: image.customization, usual=False),
        Column("sha256", "SHA-256", text=lambda image: image.sha256, usual=False),
    ),
    search=lambda found, text: found.filter(Q(name__icontains=text) | Q(title__icontains=text)),
    empty=_("No image yet."),
)
PLANS = Listing(
    name="plans",
    title=_("Plans"),
    rows=list_flavors,
    row="_plan_row.html",
    order="memory_mib",
    columns=(
        Column("title", _("Title"), "title", lambda flavor: flavor.title),
        Column("name", _("Name"), "name", lambda flavor: flavor.name),
        Column("vcpus", _("CPUs"), "vcpus", lambda flavor: flavor.vcpus),
        Column("memory", _("Memory"), "memory_mib", lambda flavor: flavor.memory_mib),
        Column("disk", _("Disk"), "disk_gib", lambda flavor: flavor.disk_gib),
    ),
    search=lambda found, text: found.filter(Q(name__icontains=text) | Q(title__icontains=text)),
    empty=_("No plan yet."),
)


@login_required
def image_list(request: HttpRequest) -> HttpResponseBase:
    """The images that VMs are copied from."""
    need(viewer_of(request), "vms.view")
    return show(request, IMAGES)


@login_required
def plan_list(request: HttpRequest) -> HttpResponseBase:
    """The sizes of VMs that have a name."""
    need(viewer_of(request), "vms.view")
    return show(request, PLANS)
