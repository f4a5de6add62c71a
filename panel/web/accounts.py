"""The pages of accounts: one's own profile, users, roles, the journal; and working in a user's account.

They read through selectors; whatever changes something goes to the REST API from their scripts. Only the two that
change whose browser this is are forms of their own.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from panel.accounts import journal, recovery, second_factor, security_keys, sessions, totp
from panel.accounts.limits import LIMITS, limits_of
from panel.accounts.models import JournalEntry, Level, Role, SshKey, Token, User
from panel.accounts.selectors import get_role, get_user, list_roles, list_users
from panel.core import permissions
from panel.core.errors import AccessDenied
from panel.web.rendering import found_or_404, need, page, rows, viewer_of

LIMIT_TITLES = {
    "vms": "VMs",
    "memory_mib": "Memory, MiB",
    "vcpus": "CPUs",
    "disk_gib": "Disk, GiB",
    "addresses": "Addresses",
    "iso_count": "ISO images",
    "iso_mib": "ISO images, MiB",
    "snapshots": "Snapshots a VM",
}
REMOVE_FORM = json.dumps(
    {
        "schema": {
            "properties": {"password": {"type": "string", "format": "password", "autocomplete": "current-password"}},
            "required": ["password"],
        },
        "initial": {},
    }
)
"""What removing a security key asks for."""
MOST_FOUND = 10_000
"""Entries of the journal that a search goes through page by page: the newest. The export has more."""
JOURNAL_FILTERS = {"user": "user_name", "action": "action", "object_type": "object_type", "object": "object_name"}


@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """What the viewer may change of their own account."""
    viewer = viewer_of(request)
    listed = sessions.list_sessions(viewer)[: sessions.MOST]
    return page(
        request,
        "profile.html",
        keys=SshKey.objects.filter(user=viewer).order_by("name")[: sessions.MOST],
        tokens=Token.objects.filter(user=viewer).order_by("-pk")[: sessions.MOST],
        sessions=[{"row": each, "current": sessions.is_current(request, each)} for each in listed],
        rights=_rights(viewer.rights),
        totp_on=totp.is_on(viewer),
        security_keys=security_keys.keys_of(viewer),
        remove_form=REMOVE_FORM,
        keys_possible=security_keys.is_configured(),
        codes_left=recovery.left(viewer),
    )


@login_required
def user_list(request: HttpRequest) -> HttpResponse:
    """The users, by a part of their names and by level."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    found = list_users(viewer)
    name, level = request.GET.get("name", "").strip()[:64], request.GET.get("level", "")
    if name:
        found = found.filter(name__icontains=name)
    if level in Level.values:
        found = found.filter(level=level)
    shown = rows(request, found)
    return page(
        request,
        "user_list.html",
        users=shown,
        page=shown,
        levels=Level.choices,
        asked={"name": name, "level": level},
        query=_query(request, "name", "level"),
        may_manage=permissions.allows(viewer, "users.manage"),
    )


@login_required
def user_new(request: HttpRequest) -> HttpResponse:
    """The form for a new user."""
    viewer = viewer_of(request)
    need(viewer, "users.manage")
    return page(request, "user_new.html", **_choices(viewer), limits=_limits(None))


@login_required
def user_page(request: HttpRequest, user_id: int) -> HttpResponse:
    """One user."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    user = found_or_404(get_user, viewer, user_id)
    power = viewer.pk != user.pk and (viewer.level == Level.SUPER or user.level == Level.USER)
    may_manage = power and permissions.allows(viewer, "users.manage")
    listed = sessions.list_sessions(user)[: sessions.MOST] if may_manage else ()
    return page(
        request,
        "user.html",
        account=user,
        may_manage=may_manage,
        may_open=power and user.is_active and permissions.allows(viewer, "users.open"),
        sessions=listed,
        second_factor_on=second_factor.is_on(user),
        limits=_limits(user),
        **(_choices(viewer) if may_manage else {}),
    )


@login_required
def role_list(request: HttpRequest) -> HttpResponse:
    """The roles."""
    viewer = viewer_of(request)
    need(viewer, "users.view")
    shown = rows(request, list_roles(viewer))
    may_manage = permissions.allows(viewer, "settings.manage")
    return page(request, "role_list.html", roles=shown, page=shown, may_manage=may_manage)


@login_required
def role_page(request: HttpRequest, role_id: int | None = None) -> HttpResponse:
    """The form of a role, or of a new one."""
    viewer = viewer_of(request)
    need(viewer, "settings.manage")
    role = Role(level=Level.USER) if role_id is None else found_or_404(get_role, viewer, role_id)
    chosen = frozenset(role.rights) | permissions.ALWAYS
    return page(request, "role.html", role=role, levels=Level.choices, rights=_rights(permissions.RIGHTS, chosen))


@login_required
def journal_page(request: HttpRequest) -> HttpResponse:
    """The journal, searched by user, action, object and days (UTC, the last one included)."""
    viewer = viewer_of(request)
    found = journal.list_entries(viewer)
    asked = {name: request.GET.get(name, "").strip()[:200] for name in (*JOURNAL_FILTERS, "since", "until")}
    error = ""
    try:
        if asked["since"]:
            found = found.filter(at__gte=_midnight(asked["since"]))
        if asked["until"]:
            found = found.filter(at__lt=_midnight(asked["until"]) + timedelta(days=1))
    except (ValueError, OverflowError):
        error, found = "A day is written as 2026-01-31.", JournalEntry.objects.none()
    for name, field in JOURNAL_FILTERS.items():
        if asked[name]:
            found = found.filter(**{field: asked[name]})
    shown = rows(request, found[:MOST_FOUND])
    return page(
        request,
        "journal.html",
        entries=shown,
        page=shown,
        asked=asked,
        error=error,
        query=_query(request, *asked),
        export=_export(asked) if not error else "",
    )


def _export(asked: dict[str, str]) -> str:
    """The same search as the REST API's export knows it, whose `until` is not included."""
    search = {name: value for name, value in asked.items() if value}
    if "since" in search:
        search["since"] = _midnight(search["since"]).isoformat()
    if "until" in search:
        search["until"] = (_midnight(search["until"]) + timedelta(days=1)).isoformat()
    return f"?{urlencode(search)}" if search else ""


@login_required
@require_POST
def open_as(request: HttpRequest, user_id: int) -> HttpResponse:
    """Work in the user's account from now on."""
    viewer = viewer_of(request)
    user = found_or_404(get_user, viewer, user_id)
    try:
        sessions.open_as(request, viewer, user)
    except AccessDenied as error:
        return page(request, "refused.html", message=error.message)
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


def _query(request: HttpRequest, *names: str) -> str:
    """What of the address the links to other pages keep."""
    kept = {name: value[:200] for name in names if (value := request.GET.get(name))}
    return f"{urlencode(kept)}&" if kept else ""


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def _rights(names: Any, chosen: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    return [
        {"name": name, "title": title, "on": name in chosen, "always": name in permissions.ALWAYS}
        for name, title in permissions.RIGHTS.items()
        if name in names
    ]


def _limits(user: User | None) -> list[dict[str, Any]]:
    limits = limits_of(user) if user is not None else None
    return [{"name": name, "title": LIMIT_TITLES[name], "value": getattr(limits, name, None)} for name in LIMITS]


def _choices(viewer: User) -> dict[str, Any]:
    """Levels and roles that the viewer may give."""
    most = Level.choices if viewer.level == Level.SUPER else [(Level.USER.value, Level.USER.label)]
    return {"levels": most, "roles": list_roles(viewer).filter(level__in=[value for value, _ in most])[:500]}
