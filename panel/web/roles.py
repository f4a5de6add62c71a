"""The pages of roles: the list, and one with its rights in groups."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.accounts import roles
from panel.accounts.models import Level, Role, User
from panel.accounts.selectors import get_role, list_roles
from panel.core import permissions
from panel.web import rights, user_forms
from panel.web.listing import Column, Filter, Listing, show
from panel.web.plain_form import Done, dialog, lead_to, submit
from panel.web.rendering import found_or_404, need, page, viewer_of


def _rows(viewer: User) -> QuerySet[Role]:
    return list_roles(viewer).annotate(accounts=Count("users"))


def _search(found: QuerySet[Role], text: str) -> QuerySet[Role]:
    return found.filter(name__icontains=text)


LISTING = Listing(
    name="roles",
    title=gettext_lazy("Roles"),
    rows=_rows,
    row="_role_row.html",
    order="name",
    columns=(
        Column("name", gettext_lazy("Name"), "name", lambda role: role.name),
        Column("level", gettext_lazy("For accounts of the level"), "level", lambda role: role.level),
        Column("rights", gettext_lazy("Rights"), text=lambda role: " ".join(role.rights)),
        Column("accounts", gettext_lazy("Users"), "accounts", lambda role: role.accounts),
    ),
    filters=(Filter("level", gettext_lazy("Level"), user_forms.all_levels, "level"),),
    search=_search,
    empty=gettext_lazy("No role: every account has all rights of its level."),
)


@login_required
def role_list(request: HttpRequest) -> HttpResponseBase:
    """The roles."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    return show(request, LISTING, "role_list.html", may_manage=permissions.allows(viewer, "settings.manage"))


@login_required
def role_page(request: HttpRequest, role_id: int | None = None) -> HttpResponse:
    """The form of a role, or of a new one (GET), shown again with what is wrong (POST)."""
    viewer = viewer_of(request)
    need(viewer, "settings.manage")
    role = Role(level=Level.USER) if role_id is None else found_or_404(get_role, viewer, role_id)
    data = request.POST if request.method == "POST" else None
    form = user_forms.RoleForm(data, initial={"name": role.name, "level": role.level})
    chosen = request.POST.getlist("rights") if data is not None else role.rights
    context: dict[str, Any] = {
        "form": form,
        "role": role,
        "groups": rights.grouped(permissions.RIGHTS, chosen, always=True),
    }
    if data is None:
        return page(request, "role.html", **context)

    def do(values: dict[str, Any]) -> Done:
        roles.put_role(viewer, values, role if role.pk else None)
        return lead_to(reverse("roles"))

    return submit(request, form, do) or render(request, "_role_form.html", context, status=422)


@login_required
def role_delete(request: HttpRequest, role_id: int) -> HttpResponse:
    """The dialog that deletes a role."""
    viewer = viewer_of(request)
    need(viewer, "settings.manage")
    role = found_or_404(get_role, viewer, role_id)

    def do(values: dict[str, Any]) -> Done:
        roles.delete_role(viewer, role)
        return lead_to(reverse("roles"))

    form = user_forms.TypedName(request.POST if request.method == "POST" else None, lost=role.name)
    title = _("Delete the role %(name)s") % {"name": role.name}
    lead = _("A role that accounts have is not deleted.")
    return dialog(request, form, do, title=title, button=_("Delete"), lead=lead, danger=True)
