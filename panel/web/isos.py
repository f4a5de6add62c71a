"""The page of ISO images: those of all and one's own. The script isos.js sends one, and shows how far it is."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.accounts.limits import limits_of
from panel.accounts.models import User
from panel.core import permissions
from panel.images import isos
from panel.images.models import Iso
from panel.images.selectors import get_iso, list_isos
from panel.web.listing import Column, Listing, show
from panel.web.plain_form import Done, PlainForm, dialog, question
from panel.web.rendering import found_or_404, viewer_of
from panel.web.templatetags.units import size


class Names(PlainForm):
    """What an ISO image is called."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=64)
    title = forms.CharField(label=gettext_lazy("Title"), max_length=128, required=False)


def _search(found: QuerySet[Iso], text: str) -> QuerySet[Iso]:
    return found.filter(Q(name__icontains=text) | Q(title__icontains=text))


def _prepare(viewer: User, found: list[Iso]) -> list[dict[str, Any]]:
    own, shares = (permissions.allows(viewer, right) for right in ("vms.devices", "images.manage"))
    return [{"iso": each, "may_change": own if each.owner_id == viewer.pk else shares} for each in found]


LISTING = Listing(
    name="isos",
    title=gettext_lazy("ISO images"),
    rows=list_isos,
    row="_iso_row.html",
    order="name",
    columns=(
        Column("name", gettext_lazy("Name"), "name", lambda iso: iso.name),
        Column("title", gettext_lazy("Title"), "title", lambda iso: iso.title),
        Column("owner", gettext_lazy("Owner"), "owner__name", lambda iso: iso.owner.name if iso.owner else ""),
        Column("size", gettext_lazy("Size"), "size_bytes", lambda iso: iso.size_bytes),
        Column("actions", gettext_lazy("Actions")),
    ),
    search=_search,
    prepare=_prepare,
    empty=gettext_lazy("There is no ISO image yet."),
)


@login_required
def iso_list(request: HttpRequest) -> HttpResponseBase:
    """The ISO images, and the form for one more."""
    viewer = viewer_of(request)
    return show(
        request,
        LISTING,
        "iso_list.html",
        may_send=permissions.allows(viewer, "vms.devices"),
        shares=permissions.allows(viewer, "images.manage"),
        used=isos.used_by(viewer),
        limits=limits_of(viewer),
    )


@login_required
def iso_rename(request: HttpRequest, iso_id: int) -> HttpResponse:
    """The dialog that calls one otherwise."""
    viewer = viewer_of(request)
    iso = found_or_404(get_iso, viewer, iso_id)
    data = request.POST if request.method == "POST" else None

    def do(values: dict[str, Any]) -> Done:
        isos.change_iso(viewer, iso, values)
        return _("%(name)s is changed.") % {"name": iso.name}

    form = Names(data, initial=isos.public(iso))
    return dialog(request, form, do, title=_("Rename %(name)s") % {"name": iso.name}, button=_("Save"))


@login_required
def iso_delete(request: HttpRequest, iso_id: int) -> HttpResponse:
    """The dialog that deletes one."""
    viewer = viewer_of(request)
    iso = found_or_404(get_iso, viewer, iso_id)

    def do() -> Done:
        isos.delete_iso(viewer, iso)
        return _("%(name)s is deleted.") % {"name": iso.name}

    lost = [_("the file %(name)s (%(size)s)") % {"name": iso.name, "size": size(iso.size_bytes)}]
    title = _("Delete %(name)s") % {"name": iso.name}
    lead = _("An ISO image that is in a VM's drive is not deleted.")
    return question(request, do, title=title, button=_("Delete"), lead=lead, lost=lost)
