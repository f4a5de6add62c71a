"""The page of the journal: who did what to which object, with what it was before and is after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.accounts import journal
from panel.accounts.models import JournalEntry, User
from panel.cluster.redaction import Redaction
from panel.core import kinds, permissions
from panel.tasks import deeds
from panel.web import limits, words
from panel.web.listing import Choices, Column, Filter, Label, Listing, show
from panel.web.rendering import viewer_of

MOST_FOUND = 10_000
"""Entries that a search goes through page by page: the newest."""
LONGEST = 200
"""Of a value, in characters; the export by REST has all."""
FIELDS: dict[str, Label] = {
    **words.PARAMETERS,
    **{name: title for name, (title, _unit) in limits.TITLES.items()},
    "active": gettext_lazy("Active"),
    "app": gettext_lazy("App"),
    "by": gettext_lazy("By"),
    "count": gettext_lazy("Number"),
    "email": gettext_lazy("E-mail address"),
    "events": gettext_lazy("Events"),
    "expires_at": gettext_lazy("Valid until"),
    "is_active": gettext_lazy("Enabled"),
    "keys": gettext_lazy("Security keys"),
    "language": gettext_lazy("Language"),
    "level": gettext_lazy("Level"),
    "limits": gettext_lazy("Limits"),
    "may_create_vms": gettext_lazy("May create VMs"),
    "note": gettext_lazy("Note"),
    "public_key": gettext_lazy("Public key"),
    "rights": gettext_lazy("Rights"),
    "role": gettext_lazy("Role"),
    "time_zone": gettext_lazy("Time zone"),
    "url": gettext_lazy("Address"),
    "withheld": gettext_lazy("Withheld"),
}
DOORS: dict[str, Label] = {
    "page": gettext_lazy("page"),
    "rest": gettext_lazy("REST"),
    "classic": gettext_lazy("classic API"),
    "panel": gettext_lazy("the panel itself"),
}
"""How somebody came in."""


def _kinds(viewer: User) -> Choices:
    return [(name, words.kind(name)) for name in sorted(words.KINDS)]


def _search(found: QuerySet[JournalEntry], text: str) -> QuerySet[JournalEntry]:
    """By the beginning of the user's or the object's name, by the action, or by the request id."""
    named = Q(user_name__istartswith=text) | Q(object_name__istartswith=text)
    return found.filter(named | Q(action=text) | Q(request_id=text))


def _since(found: QuerySet[JournalEntry], text: str) -> QuerySet[JournalEntry]:
    begin = _midnight(text)
    return found.filter(at__gte=begin) if begin is not None else found.none()


def _until(found: QuerySet[JournalEntry], text: str) -> QuerySet[JournalEntry]:
    """The day itself is included."""
    begin = _midnight(text)
    return found.filter(at__lt=begin + timedelta(days=1)) if begin is not None else found.none()


def _midnight(day: str) -> datetime | None:
    """The day's begin in the reader's zone; None for what is no day."""
    try:
        return timezone.make_aware(datetime.combine(date.fromisoformat(day), time()))
    except (ValueError, OverflowError):
        return None


def _prepare(viewer: User, entries: list[JournalEntry]) -> list[dict[str, Any]]:
    redaction = Redaction(viewer)
    return [
        {
            "entry": each,
            "deed": redaction.shown(deeds.worded(each)),
            "kind": words.kind(each.object_type),
            "address": kinds.page_of(each.object_type, each.object_id),
            "door": DOORS.get(each.door, each.door),
            "changes": list(changes(redaction.data(each.before), redaction.data(each.after))),
        }
        for each in entries
    ]


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What differs: the field's name with its value before and after; `only` where there is but one of them."""
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if isinstance(was, dict) or isinstance(now, dict):
            yield from changes(_differing(was, now), _differing(now, was))
        elif name not in before or name not in after:
            yield {"name": _named(name), "only": said(now if name in after else was)}
        else:
            yield {"name": _named(name), "before": said(was), "after": said(now)}


def _differing(values: Any, others: Any) -> dict[str, Any]:
    values, others = values or {}, others or {}
    return {name: value for name, value in values.items() if others.get(name) != value or name not in others}


def _named(name: str) -> Label:
    return FIELDS.get(name) or name.replace("_", " ").capitalize()


def said(value: Any) -> str:
    """A value for people."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    text = ", ".join(said(each) for each in value) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


LISTING = Listing(
    name="journal",
    title=gettext_lazy("Journal"),
    rows=journal.list_entries,
    row="_journal_row.html",
    most=MOST_FOUND,
    columns=(
        Column("at", gettext_lazy("When"), text=lambda entry: entry.at.isoformat()),
        Column("deed", gettext_lazy("What"), text=lambda entry: entry.action),
        Column("user", gettext_lazy("Who"), text=lambda entry: entry.user_name),
        Column("object", gettext_lazy("Object"), text=lambda entry: f"{entry.object_type} {entry.object_name}"),
        Column("changes", gettext_lazy("Changed")),
        Column("from", gettext_lazy("From"), text=lambda entry: f"{entry.door} {entry.address}"),
        Column("request", gettext_lazy("Request id"), text=lambda entry: entry.request_id, usual=False),
    ),
    filters=(
        Filter("object_type", gettext_lazy("Kind of object"), _kinds, "object_type"),
        Filter("since", gettext_lazy("From day"), apply=_since, input="date"),
        Filter("until", gettext_lazy("To day"), apply=_until, input="date"),
    ),
    search=_search,
    prepare=_prepare,
    empty=gettext_lazy("Nothing is in the journal yet."),
)


@login_required
def journal_page(request: HttpRequest) -> HttpResponseBase:
    """The journal, the newest first."""
    permissions.require(viewer_of(request), "journal.own")
    return show(request, LISTING, "journal_list.html")
