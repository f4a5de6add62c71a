"""The list of problems: those that are open, or that were."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.core import kinds
from panel.notices.models import Problem
from panel.notices.selectors import list_problems
from panel.web import words
from panel.web.listing import Choices, Column, Filter, Listing, show
from panel.web.rendering import need, viewer_of


def _severities(viewer: User) -> Choices:
    return list(words.SEVERITIES.items())


def _kinds(viewer: User) -> Choices:
    found = {each.name: words.kind(each.name) for each in kinds.every()}
    used = Problem.objects.filter(open_key__isnull=False).order_by().values_list("object_type", flat=True).distinct()
    return [(name, found[name]) for name in sorted(used) if name in found]


def _search(found: QuerySet[Problem], text: str) -> QuerySet[Problem]:
    """By a part of the sentence, as it was stored."""
    return found.filter(Q(text__icontains=text) | Q(key__icontains=text))


def _prepare(viewer: User, problems: list[Problem]) -> list[dict[str, Any]]:
    return [{"problem": each, "address": kinds.page_of(each.object_type, each.object_id)} for each in problems]


def _object(problem: Problem) -> str:
    return f"{problem.object_type} {problem.object_id}" if problem.object_id is not None else ""


LISTING = Listing(
    name="problems",
    title=_("Problems"),
    rows=list_problems,
    row="_problem_row.html",
    topics="problem",
    columns=(
        Column("text", _("Problem"), text=lambda problem: problem.worded.shown(nodes=True)),
        Column("severity", _("Severity"), "severity", lambda problem: problem.severity),
        Column("object", _("Object"), "object_type", _object),
        Column("opened", _("Since"), "opened_at", lambda problem: problem.opened_at.isoformat()),
        Column("seen", _("Last seen"), "seen_at", lambda problem: problem.seen_at.isoformat(), usual=False),
    ),
    filters=(
        Filter("severity", _("Severity"), _severities, "severity"),
        Filter("kind", _("Kind of object"), _kinds, "object_type"),
    ),
    search=_search,
    prepare=_prepare,
    empty=_("Nothing is wrong."),
)


@login_required
def problem_list(request: HttpRequest) -> HttpResponseBase:
    """The open problems."""
    need(viewer_of(request), "notices.view")
    return show(request, LISTING)
