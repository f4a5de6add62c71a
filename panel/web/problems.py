"""The lists of problems: those that are open, and those that were; and acknowledging one."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core import kinds, permissions
from panel.notices import services
from panel.notices.models import LONGEST_NOTE, Problem
from panel.notices.selectors import STATES, get_problem, list_problems
from panel.vms.models import Vm
from panel.web import problem_search, words
from panel.web.listing import Choices, Column, Filter, Listing, named, show
from panel.web.plain_form import Done, PlainForm, deed, dialog
from panel.web.rendering import found_or_404, need, viewer_of

OBJECT = re.compile(r"([a-z_]{1,32}):([0-9]{1,18})\Z")


def _states(viewer: User) -> Choices:
    return [("unacknowledged", gettext_lazy("Not acknowledged")), ("acknowledged", gettext_lazy("Acknowledged"))]


def _of_state(found: QuerySet[Problem], value: str) -> QuerySet[Problem]:
    return found.filter(STATES[value])


def _kinds(viewer: User) -> Choices:
    found = {each.name: words.kind(each.name) for each in kinds.every()}
    used = list_problems(viewer, "all").order_by().values_list("object_type", flat=True).distinct()
    return [(name, found[name]) for name in sorted(used) if name in found]


def _of_object(found: QuerySet[Problem], text: str) -> QuerySet[Problem]:
    """By a part of the name of a node or a VM, or as “node:3”."""
    if match := OBJECT.match(text):
        return found.filter(object_type=match[1], object_id=int(match[2]))
    nodes = Node.objects.filter(name__icontains=text).order_by().values("pk")
    vms = Vm.objects.filter(name__icontains=text).order_by().values("pk")
    return found.filter(Q(object_type="node", object_id__in=nodes) | Q(object_type="vm", object_id__in=vms))


def _search(found: QuerySet[Problem], text: str) -> QuerySet[Problem]:
    """By a part of the sentence, as its reader sees it or as it was stored, or of the note."""
    stored = Q(text__icontains=text) | Q(key__icontains=text) | Q(note__icontains=text)
    return found.filter(stored | Q(pk__in=problem_search.worded_like(found, text)))


def _prepare(viewer: User, problems: list[Problem]) -> list[dict[str, Any]]:
    may = permissions.allows(viewer, "notices.manage")
    names = problem_search.names(viewer, problems)
    return [
        {
            "problem": each,
            "name": names.get((each.object_type, each.object_id), ""),
            "address": kinds.page_of(each.object_type, each.object_id),
            "may": may and each.is_open,
        }
        for each in problems
    ]


def _object(problem: Problem) -> str:
    return f"{problem.object_type} {problem.object_id}" if problem.object_id is not None else ""


def _time(name: str) -> Any:
    return lambda problem: moment.isoformat() if (moment := getattr(problem, name)) is not None else ""


COLUMNS = (
    Column("text", gettext_lazy("Problem"), text=lambda problem: problem.worded.shown(nodes=True)),
    Column("severity", gettext_lazy("Severity"), "severity", lambda problem: problem.severity),
    Column("object", gettext_lazy("Object"), "object_type", _object),
    Column("opened", gettext_lazy("Since"), "opened_at", _time("opened_at")),
)
ACKNOWLEDGED = Column("acknowledged", gettext_lazy("Acknowledged"), "acknowledged_at", lambda row: row.acknowledged_by)
FILTERS = (
    Filter("severity", gettext_lazy("Severity"), named(words.SEVERITIES), "severity"),
    Filter("kind", gettext_lazy("Kind of object"), _kinds, "object_type"),
    Filter("object", gettext_lazy("Node or VM"), apply=_of_object, input="search"),
)
LISTING = Listing(
    name="problems",
    title=gettext_lazy("Problems"),
    rows=list_problems,
    row="_problem_row.html",
    topics="problem",
    columns=(
        *COLUMNS,
        Column("seen", gettext_lazy("Last seen"), "seen_at", _time("seen_at"), usual=False),
        ACKNOWLEDGED,
        Column("note", gettext_lazy("Note"), text=lambda problem: problem.note, usual=False),
    ),
    filters=(Filter("state", gettext_lazy("State"), _states, apply=_of_state), *FILTERS),
    search=_search,
    prepare=_prepare,
    empty=gettext_lazy("Nothing is wrong."),
)
ENDED = Listing(
    name="problems-ended",
    title=gettext_lazy("Problems that ended"),
    rows=lambda viewer: list_problems(viewer, "ended"),
    row="_problem_row.html",
    topics="problem",
    order="-closed_at",
    columns=(
        *COLUMNS,
        Column("closed", gettext_lazy("Until"), "closed_at", _time("closed_at")),
        ACKNOWLEDGED,
        Column("note", gettext_lazy("Note"), text=lambda problem: problem.note, usual=False),
    ),
    filters=FILTERS,
    search=_search,
    prepare=_prepare,
    empty=gettext_lazy("No problem has ended lately."),
)


@login_required
def problem_list(request: HttpRequest) -> HttpResponseBase:
    """The open problems."""
    need(viewer_of(request), "notices.view")
    return show(request, LISTING, "problem_list.html", ended=False)


@login_required
def problem_history(request: HttpRequest) -> HttpResponseBase:
    """The problems that ended, for as long as they are kept."""
    need(viewer_of(request), "notices.view")
    return show(request, ENDED, "problem_list.html", ended=True)


class NoteForm(PlainForm):
    """What is said with an acknowledgement."""

    note = forms.CharField(
        label=gettext_lazy("Note"),
        help_text=gettext_lazy("For the others: what is being done about it, and by whom."),
        max_length=LONGEST_NOTE,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


@login_required
def problem_acknowledge(request: HttpRequest, problem_id: int) -> HttpResponse:
    """The dialog that acknowledges a problem."""
    viewer = viewer_of(request)
    need(viewer, "notices.manage")
    problem = found_or_404(get_problem, viewer, problem_id)
    form = NoteForm(request.POST if request.method == "POST" else None, initial={"note": problem.note})

    def do(values: dict[str, Any]) -> Done:
        services.acknowledge(problem, viewer, values["note"])
        return _("The problem is acknowledged.")

    lead = _("It does not count any more, and is still shown. When it ends, returns or becomes worse, it counts again.")
    told = {"title": _("Acknowledge the problem"), "about": problem.worded, "lead": lead, "button": _("Acknowledge")}
    return dialog(request, form, do, template="dialog_problem.html", **told)


@login_required
@require_POST
def problem_unacknowledge(request: HttpRequest, problem_id: int) -> HttpResponse:
    """Have a problem count again."""
    viewer = viewer_of(request)
    need(viewer, "notices.manage")
    problem = found_or_404(get_problem, viewer, problem_id)

    def do() -> Done:
        services.take_acknowledgement_back(problem, viewer)
        return _("The problem counts again.")

    return deed(request, do)
