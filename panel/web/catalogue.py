"""The lists of what VMs are made of, images and plans, and the dialogs that change them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.core import permissions
from panel.images import services
from panel.images.selectors import get_flavor, get_image, list_flavors, list_images
from panel.web import words
from panel.web.listing import Column, Listing, show
from panel.web.plain_form import Done, PlainForm, dialog, question
from panel.web.rendering import found_or_404, need, viewer_of


def _prepare(viewer: User, found: list[Any]) -> list[dict[str, Any]]:
    may = permissions.allows(viewer, "images.manage")
    return [{"object": each, "may": may} for each in found]


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
        Column("actions", _("Actions")),
    ),
    search=lambda found, text: found.filter(Q(name__icontains=text) | Q(title__icontains=text)),
    prepare=_prepare,
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
        Column("actions", _("Actions")),
    ),
    search=lambda found, text: found.filter(Q(name__icontains=text) | Q(title__icontains=text)),
    prepare=_prepare,
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
    viewer = viewer_of(request)
    need(viewer, "vms.view")
    return show(request, PLANS, "plan_list.html", may=permissions.allows(viewer, "images.manage"))


class _Sized(PlainForm):
    """A form with sizes, whose units stand behind their fields."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.unit = words.unit_of(name)  # type: ignore[attr-defined]


class ImageForm(_Sized):
    """What may be changed of an image."""

    title = forms.CharField(label=_("Title"), max_length=128)
    min_memory_mib = forms.IntegerField(label=_("Least memory"), min_value=64)
    min_disk_gib = forms.IntegerField(label=_("Smallest disk"), min_value=1)


class PlanForm(_Sized):
    """What a plan is made of."""

    name = forms.CharField(label=_("Name"), max_length=64, help_text=_("By which programs know it: a-z, 0-9, . and -."))
    title = forms.CharField(label=_("Title"), max_length=128, required=False)
    vcpus = forms.IntegerField(label=_("CPUs"), min_value=1)
    memory_mib = forms.IntegerField(label=_("Memory"), min_value=64)
    disk_gib = forms.IntegerField(label=_("Disk"), min_value=1)


def _data(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _initial(form: type[PlainForm], found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in form.base_fields}


@login_required
def image_change(request: HttpRequest, image_id: int) -> HttpResponse:
    """The dialog that changes an image."""
    viewer = viewer_of(request)
    need(viewer, "images.manage")
    image = found_or_404(get_image, viewer, image_id)

    def do(values: dict[str, Any]) -> Done:
        services.change_image(viewer, image, values)
        return gettext("%(name)s is changed.") % {"name": image.name}

    title = gettext("Change %(name)s") % {"name": image.name}
    lead = gettext("VMs that exist are not touched.")
    form = ImageForm(_data(request), initial=_initial(ImageForm, image))
    return dialog(request, form, do, title=title, lead=lead, button=gettext("Save"))


@login_required
def plan_new(request: HttpRequest) -> HttpResponse:
    """The dialog of a new plan."""
    viewer = viewer_of(request)
    need(viewer, "images.manage")

    def do(values: dict[str, Any]) -> Done:
        services.create_flavor(viewer, values)
        return gettext("%(name)s is added.") % {"name": values["name"]}

    return dialog(request, PlanForm(_data(request)), do, title=gettext("New plan"), button=gettext("Create"))


@login_required
def plan_change(request: HttpRequest, plan_id: int) -> HttpResponse:
    """The dialog that changes a plan."""
    viewer = viewer_of(request)
    need(viewer, "images.manage")
    plan = found_or_404(get_flavor, viewer, plan_id)

    def do(values: dict[str, Any]) -> Done:
        services.change_flavor(viewer, plan, values)
        return gettext("%(name)s is changed.") % {"name": values["name"]}

    title = gettext("Change %(name)s") % {"name": plan.name}
    lead = gettext("VMs that exist keep their size.")
    form = PlanForm(_data(request), initial=_initial(PlanForm, plan))
    return dialog(request, form, do, title=title, lead=lead, button=gettext("Save"))


@login_required
def plan_delete(request: HttpRequest, plan_id: int) -> HttpResponse:
    """The dialog that deletes a plan."""
    viewer = viewer_of(request)
    need(viewer, "images.manage")
    plan = found_or_404(get_flavor, viewer, plan_id)

    def do() -> Done:
        services.delete_flavor(viewer, plan)
        return gettext("%(name)s is deleted.") % {"name": plan.name}

    title = gettext("Delete %(name)s") % {"name": plan.name}
    lead = gettext("VMs that were made of it keep their size; orders that name it are refused from then on.")
    return question(request, do, title=title, lead=lead, button=gettext("Delete"), lost=[plan.title])
