"""The pages of users: the list, a new one, and one with all that may be done to them; working in their account."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from panel.accounts import second_factor, security_keys, services, sessions, totp
from panel.accounts.limits import LIMITS, limits_of
from panel.accounts.models import Level, User
from panel.accounts.selectors import get_user, list_roles, list_users
from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.core.errors import AccessDenied
from panel.vms.models import Vm
from panel.web import limits, user_forms
from panel.web.listing import Choices, Column, Filter, Listing, show
from panel.web.own import SIGNED_OUT, listed_sessions, named
from panel.web.plain_form import Done, deed, dialog, lead_to, question, submit
from panel.web.rendering import found_or_404, need, page, viewer_of

ENABLED, DISABLED = "enabled", "disabled"
VALUES = ("name", "email", "level", "may_create_vms")


def _roles(viewer: User) -> Choices:
    return [(name, name) for name in list_roles(viewer).order_by("name").values_list("name", flat=True)[:500]]


def _states(viewer: User) -> Choices:
    return [(ENABLED, gettext_lazy("Enabled")), (DISABLED, gettext_lazy("Disabled"))]


def _of_state(found: QuerySet[User], value: str) -> QuerySet[User]:
    return found.filter(is_active=value == ENABLED)


def _search(found: QuerySet[User], text: str) -> QuerySet[User]:
    """By a part of the name or the e-mail address."""
    return found.filter(Q(name__icontains=text) | Q(email__icontains=text))


def _prepare(viewer: User, users: list[User]) -> list[dict[str, Any]]:
    owned = Vm.objects.filter(owner__in=users).order_by().values_list("owner").annotate(Count("pk"))
    counts = dict(owned)
    return [{"user": each, "vms": counts.get(each.pk, 0)} for each in users]


LISTING = Listing(
    name="users",
    title=gettext_lazy("Users"),
    rows=list_users,
    row="_user_row.html",
    order="name",
    columns=(
        Column("name", gettext_lazy("Name"), "name", lambda user: user.name, card="card-head"),
        Column("level", gettext_lazy("Level"), "level", lambda user: user.level, card="card-line"),
        Column("role", gettext_lazy("Role"), "role__name", lambda user: user.role.name if user.role else ""),
        Column("email", gettext_lazy("E-mail address"), "email", lambda user: user.email, card="card-line"),
        Column("vms", gettext_lazy("Virtual machines"), card="card-line"),
        Column(
            "state",
            gettext_lazy("State"),
            "is_active",
            lambda user: ENABLED if user.is_active else DISABLED,
            card="card-side",
        ),
        Column("created", gettext_lazy("Created"), "created_at", lambda user: user.created_at.isoformat()),
    ),
    filters=(
        Filter("level", gettext_lazy("Level"), user_forms.all_levels, "level"),
        Filter("role", gettext_lazy("Role"), _roles, "role__name"),
        Filter("state", gettext_lazy("State"), _states, apply=_of_state),
    ),
    search=_search,
    prepare=_prepare,
    empty=gettext_lazy("No user yet."),
)


@login_required
def user_list(request: HttpRequest) -> HttpResponseBase:
    """The users."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    return show(request, LISTING, "user_list.html", may_manage=permissions.allows(viewer, "users.manage"))


@login_required
def user_new(request: HttpRequest) -> HttpResponse:
    """The form for a new user (GET), shown again with what is wrong, or the user's page then (POST)."""
    viewer = viewer_of(request)
    need(viewer, "users.manage")
    data = request.POST if request.method == "POST" else None
    form = user_forms.Account(
        data, viewer=viewer, is_new=True, initial={"level": Level.USER.value, "may_create_vms": True}
    )
    allowed = user_forms.LimitsForm(data)

    def do(values: dict[str, Any]) -> Done:
        user = services.create_user(viewer, {**form.values, "limits": allowed.cleaned_data})
        return lead_to(reverse("user", args=[user.pk]))

    if data is not None:
        done = submit(request, form, do) if allowed.is_valid() else None
        return done or render(request, "_user_new.html", {"form": form, "limits_form": allowed}, status=422)
    return page(request, "user_new.html", form=form, limits_form=allowed)


@login_required
def user_page(request: HttpRequest, user_id: int) -> HttpResponse:
    """One user."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    user = found_or_404(get_user, viewer, user_id)
    power = viewer.pk != user.pk and (viewer.level == Level.SUPER or user.level == Level.USER)
    may_manage = power and permissions.allows(viewer, "users.manage")
    return page(
        request,
        "user.html",
        regions={"user": "_user.html"},
        account=user,
        may_manage=may_manage,
        may_open=power and user.is_active and permissions.allows(viewer, "users.open"),
        sessions=listed_sessions(user, request) if may_manage else (),
        second_factor_on=second_factor.is_on(user),
        limits=limits.rows_of(user),
        vms=Vm.objects.filter(owner=user).count(),
    )


@login_required
def user_do(request: HttpRequest, user_id: int, deed: str) -> HttpResponse:
    """One of DIALOGS (GET, POST) or DEEDS (POST) about a user; who may is said by the services."""
    viewer = viewer_of(request)
    need(viewer, "users.manage")
    user = found_or_404(get_user, viewer, user_id)
    if deed in DIALOGS:
        return DIALOGS[deed](request, viewer, user)
    if deed in DEEDS and request.method == "POST":
        return DEEDS[deed](request, viewer, user)
    raise Http404("There is no such page.")


def _data(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _change(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    initial = {name: getattr(user, name) for name in VALUES} | {"role": user.role.name if user.role else ""}
    form = user_forms.Account(_data(request), viewer=viewer, is_new=False, initial=initial)

    def do(values: dict[str, Any]) -> Done:
        services.change_user(viewer, user, form.values)
        return _("%(name)s is changed.") % {"name": form.values["name"]}

    return dialog(request, form, do, title=_("Change %(name)s") % {"name": user.name}, button=_("Save"))


def _limits(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    now = limits_of(user)
    form = user_forms.LimitsForm(_data(request), initial={name: getattr(now, name) for name in LIMITS})

    def do(values: dict[str, Any]) -> Done:
        services.change_user(viewer, user, {"limits": values})
        return _("The limits of %(name)s are changed.") % {"name": user.name}

    lead = _("Empty is without limit. What is used already stays, also above a limit.")
    title = _("Limits of %(name)s") % {"name": user.name}
    return dialog(request, form, do, title=title, button=_("Save"), lead=lead)


def _delete(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do(values: dict[str, Any]) -> Done:
        services.delete_user(viewer, user)
        return lead_to(reverse("users"))

    lead = _("The account, its tokens, SSH keys and webhooks are lost for good. Who owns VMs still is not deleted.")
    title = _("Delete %(name)s") % {"name": user.name}
    form = user_forms.TypedName(_data(request), lost=user.name)
    return dialog(request, form, do, title=title, button=_("Delete"), lead=lead, danger=True)


def _enable(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do() -> Done:
        services.set_active(viewer, user, True)
        return _("%(name)s may sign in again.") % {"name": user.name}

    return deed(request, do)


def _disable(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do() -> Done:
        services.set_active(viewer, user, False)
        return _("%(name)s is disabled.") % {"name": user.name}

    signed_in = named(listed_sessions(user, request))
    count = user.tokens.count()
    tokens = ngettext("%(count)s token, which is refused", "%(count)s tokens, which are refused", count)
    lost = [*signed_in, *([tokens % {"count": count}] if count else [])]
    title = _("Disable %(name)s") % {"name": user.name}
    lead = _("%(name)s cannot sign in until the account is enabled again. VMs run on.") % {"name": user.name}
    return question(request, do, title=title, button=_("Disable"), lead=lead, lost_title=SIGNED_OUT, lost=lost)


def _reset(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do() -> Done:
        second_factor.reset(viewer, user)
        return _("%(name)s signs in by the password alone now.") % {"name": user.name}

    keys = [_("the security key %(name)s") % {"name": each.name} for each in security_keys.keys_of(user)]
    lost = [*([_("the app for codes")] if totp.is_on(user) else []), *keys, _("the recovery codes")]
    title = _("Reset the second factor of %(name)s") % {"name": user.name}
    lead = _("The password alone lets them in then, until they set up another one.")
    return question(request, do, title=title, button=_("Reset"), lead=lead, lost=lost)


def _end_session(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do() -> Done:
        sessions.end_one(viewer, user, request.POST.get("id", "")[:64])
        return _("The session is ended.")

    return deed(request, do)


def _end_sessions(request: HttpRequest, viewer: User, user: User) -> HttpResponse:
    def do() -> Done:
        sessions.end_others(viewer, user)
        return _("All sessions of %(name)s are ended.") % {"name": user.name}

    title = _("End all sessions of %(name)s") % {"name": user.name}
    lost = named(listed_sessions(user, request))
    return question(request, do, title=title, button=_("End all sessions"), lost_title=SIGNED_OUT, lost=lost)


DIALOGS = {
    "change": _change,
    "limits": _limits,
    "delete": _delete,
    "disable": _disable,
    "reset-second-factor": _reset,
    "sessions-end": _end_sessions,
}
DEEDS = {"enable": _enable, "session-end": _end_session}


@login_required
@require_POST
def open_as(request: HttpRequest, user_id: int) -> HttpResponse:
    """Work in the user's account from now on."""
    viewer = viewer_of(request)
    user = found_or_404(get_user, viewer, user_id)
    try:
        sessions.open_as(request, viewer, user)
    except AccessDenied as error:
        return page(request, "refused.html", message=Redaction(viewer).error(error).message)
    return redirect("dashboard")


@login_required
@require_POST
def go_back(request: HttpRequest) -> HttpResponse:
    """Be oneself again."""
    opened = viewer_of(request).pk
    try:
        sessions.go_back(request)
    except AccessDenied:
        sessions.end(request)
        return redirect("login")
    return redirect("user", opened)
