"""The dialog of an operation: what it asks for, what is lost by it, what it would do; and asking for it.

Every operation of the registry has one, at the page of its object's kind: `vms/12/do/migrate`. One that asks nothing
and destroys nothing is asked for by the button itself.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import kinds, rates, wording
from panel.core.errors import InvalidValue, PanelError
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.queue import announced_together
from panel.web.operation_form import OperationForm
from panel.web.rendering import found_or_404, refused, say, viewer_of

MOST = 100
"""Objects of one group: each is a transaction of its own."""


def _operation(viewer: User, plural: str, verb: str) -> Declaration[Any]:
    found = next((each for each in kinds.every() if each.plural == plural), None)
    allowed = registry.for_object(found.name, viewer) if found is not None else ()
    operation = next((each for each in allowed if each.verb == verb), None)
    if operation is None:
        raise Http404("There is no such operation.")
    return operation


@login_required
def operation(request: HttpRequest, plural: str, object_id: int, verb: str) -> HttpResponse:
    """The dialog (GET), what would be done (POST for the region “plan”), or the operation itself (POST)."""
    viewer = viewer_of(request)
    asked = _operation(viewer, plural, verb)
    found = found_or_404(_find(asked), viewer, object_id)
    fixed = {name: str(value) for name, value in request.GET.items() if name in asked.params.model_fields}
    data = request.POST if request.method == "POST" else None
    form = OperationForm(asked, viewer, found, data, fixed=fixed)
    if request.headers.get("HX-Target") == "plan":
        return _plan(request, asked, form, object_id)
    if data is None:
        return _dialog(request, asked, form, found)
    return _ask_for(request, asked, form, found)


def _find(asked: Declaration[Any]) -> Any:
    def find(viewer: User, object_id: int) -> Any:
        obj = kinds.get(asked.object_type).find(viewer, object_id)
        if obj is None:
            raise Http404("There is no such object.")
        return obj

    return find


def _dialog(
    request: HttpRequest, asked: Declaration[Any], form: OperationForm, found: Any, status: int = 200
) -> HttpResponse:
    viewer = viewer_of(request)
    redaction = Redaction(viewer)
    kinds.get(asked.object_type).gather([found])
    context = {
        "operation": asked,
        "label": wording.translated(asked.label),
        "form": form,
        "object": found,
        "warning": redaction.text(wording.translated(asked.warning_about(found))),
        "losses": [each.shown(nodes=not redaction.is_on) for each in asked.losses(found)],
        "why_not": redaction.data(asked.why_not(found)),
        "address": request.get_full_path(),
        "redaction": redaction,
    }
    return render(request, "operation.html", context, status=status)


def _plan(request: HttpRequest, asked: Declaration[Any], form: OperationForm, object_id: int) -> HttpResponse:
    redaction = Redaction(viewer_of(request))
    context: dict[str, Any] = {}
    if not form.is_valid():
        # The fields say what is wrong once somebody wants it done; here nothing is planned yet.
        return render(request, "_plan.html", {"incomplete": True})
    try:
        plan = asked.plan(viewer_of(request), form.raw, object_id=object_id)
        context["plan"] = {**redaction.data({"locks": plan["locks"]}), "steps": redaction.planned(plan["steps"])}
    except PanelError as error:
        context["refusal"] = redaction.error(error).message
    return render(request, "_plan.html", context)


def _ask_for(request: HttpRequest, asked: Declaration[Any], form: OperationForm, found: Any) -> HttpResponse:
    """Submit it; what is refused is told at its field."""
    viewer = viewer_of(request)
    if not form.is_valid():
        return _dialog(request, asked, form, found, status=422)
    try:
        if asked.losses(found) and request.POST.get("typed_name", "").strip() != str(found):
            raise InvalidValue("The name is not the one of what would be lost.", field="typed_name")
        task = asked.submit(viewer, form.raw, object_id=found.pk)
    except PanelError as error:
        told = Redaction(viewer).error(error)
        if "dialog" not in request.POST:
            return refused(told.message, told.status)
        form.take(error, Redaction(viewer))
        return _dialog(request, asked, form, found, status=422)
    text = _("%(operation)s: %(name)s") % {"operation": wording.translated(asked.label), "name": str(found)}
    return say(HttpResponse(status=204), text, to=reverse("task", args=[task.pk]))


@login_required
def group(request: HttpRequest, plural: str, verb: str) -> HttpResponse:
    """The dialog of an operation on all that are chosen in a list: for which it is possible, and what came of each."""
    viewer = viewer_of(request)
    asked = _operation(viewer, plural, verb)
    data: QueryDict = request.POST if request.method == "POST" else request.GET
    ids = [int(each) for each in data.get("ids", "").split(",") if each.isdecimal()][:MOST]
    redaction = Redaction(viewer)
    kind = kinds.get(asked.object_type)
    found = kind.found(viewer, ids)
    kind.gather(found)
    rows = [{"object": each, "why_not": redaction.data(asked.why_not(each)), "task": None} for each in found]
    possible = [row for row in rows if not row["why_not"]]
    done = request.method == "POST"
    if done:
        rates.charge(request, len(possible))
        with announced_together():
            for row in possible:
                _ask_one(viewer, asked, row, redaction)
    context = {
        "operation": asked,
        "label": wording.translated(asked.label),
        "rows": rows,
        "ids": ",".join(str(row["object"].pk) for row in rows),
        "count": ngettext("%(count)s object", "%(count)s objects", len(possible)) % {"count": len(possible)},
        "possible": possible,
        "warning": wording.translated(asked.warning),
        "done": done,
        "page": kind.page,
        "address": request.path,
    }
    response = render(request, "group.html", context)
    if done:
        response.headers["HX-Trigger"] = "choose-none"
    return response


def _ask_one(viewer: User, asked: Declaration[Any], row: dict[str, Any], redaction: Redaction) -> None:
    try:
        row["task"] = asked.submit(viewer, {}, object_id=row["object"].pk)
    except PanelError as error:
        row["why_not"] = redaction.error(error).message


@login_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep how the viewer has pages look, and show them so."""
    viewer = viewer_of(request)
    chosen = request.POST.get("theme", "")
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=viewer.pk)
        user.page_settings["theme"] = chosen if chosen in ("light", "dark") else ""
        user.save(update_fields=["page_settings"])
    response = HttpResponse(status=204)
    response.headers["HX-Refresh"] = "true"
    return response
