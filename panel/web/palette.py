"""What Ctrl-K opens: pages, objects and what can be done, by what somebody types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve, reverse
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import kinds, permissions, wording
from panel.web import buttons, navigation, node_page, problem_search, words
from panel.web.rendering import viewer_of
from panel.web.vm_page import main_verbs, open_task

LONGEST = 100
LEAST = 2
"""Characters by which objects are looked for."""


MAIN: dict[str, Callable[[Any], Sequence[str]]] = {"vm": main_verbs, "node": node_page.main_verbs}
"""The kinds of object whose operations are offered, with the verbs that matter of one as it is."""


@login_required
def palette(request: HttpRequest) -> HttpResponse:
    """The palette, or what it finds for `q` when that region alone is asked for."""
    viewer = viewer_of(request)
    text = request.GET.get("q", "").strip()[:LONGEST]
    searches = len(text) >= LEAST or text.isdecimal()
    objects = _objects(viewer, text) if searches else []
    context = {
        "here": _actions_here(viewer, text, request.headers.get("HX-Current-URL", "")),
        "objects": objects + (_problems(viewer, text, objects) if searches else []),
        "actions": _actions(viewer, text, objects),
        "pages": _pages(viewer, text),
        "q": text,
        "redaction": Redaction(viewer),
    }
    template = "_found.html" if request.headers.get("HX-Target") == "found" else "palette.html"
    return render(request, template, context)


def _pages(viewer: User, text: str) -> list[dict[str, Any]]:
    entries = [each for group in navigation.of(viewer, "") for each in group["entries"]]
    return [each for each in entries if text.lower() in str(each["entry"].label).lower()]


def _objects(viewer: User, text: str) -> list[dict[str, Any]]:
    return [
        {
            "kind": wording.translated(kind.label),
            "name": name,
            "more": words.STATUSES.get(more) or words.TASK_STATUSES.get(more, more) if kind.topic_right else more,
            "address": kind.page.format(pk),
            "of": (kind.name, pk),
        }
        for kind in kinds.every()
        if kind.page
        for pk, name, more in kind.search(viewer, text)
    ]


def _problems(viewer: User, text: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The open problems whose sentence has the text, and those of what was found; each leads to its object."""
    return [
        {
            "kind": words.kind("problem"),
            "name": problem.worded.shown(nodes=True),
            "more": name,
            "address": kinds.page_of(problem.object_type, problem.object_id) or reverse("problems"),
        }
        for problem, name in problem_search.first(viewer, text, [each["of"] for each in objects])
    ]


def _actions_here(viewer: User, text: str, address: str) -> list[dict[str, Any]]:
    """What can be done with the object of the page that the palette was opened on."""
    found = _object_at(address)
    obj = kinds.get(found[0]).find(viewer, found[1]) if found is not None else None
    return _doable(viewer, found[0], obj, text) if found is not None and obj is not None else []


def _object_at(address: str) -> tuple[str, int] | None:
    """The kind and id of the object whose page has this address."""
    try:
        of = resolve(urlsplit(address).path).kwargs
    except (Resolver404, ValueError):
        return None
    return next(((kind, of[f"{kind}_id"]) for kind in MAIN if f"{kind}_id" in of), None)


def _doable(viewer: User, kind: str, obj: Any, text: str = "") -> list[dict[str, Any]]:
    """The operations that are possible: those that have the text in their name, without one those that matter now."""
    shown = buttons.at(viewer, obj, open_task(kind, obj.pk), kind=kind, main=MAIN[kind](obj))
    offered = [*shown.main, *shown.menu, *shown.dangerous] if text else shown.main
    found: list[dict[str, Any]] = [
        {"button": each, "label": f"{each.label}: {obj}"}
        for each in offered
        if each.on and text.lower() in each.label.lower()
    ]
    if kind == "vm" and permissions.allows(viewer, "vms.console") and text.lower() in _("Console").lower():
        found.append({"address": reverse("vm-console", args=[obj.pk]), "label": f"{_('Console')}: {obj}"})
    return found


def _actions(viewer: User, text: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What can be done with the first VM or node that was found, and what can be begun."""
    first = next((each["of"] for each in objects if each["of"][0] in MAIN), None)
    obj = kinds.get(first[0]).find(viewer, first[1]) if first is not None else None
    found = _doable(viewer, first[0], obj) if first is not None and obj is not None else []
    if permissions.allows(viewer, "vms.create") and text.lower() in _("Create a virtual machine").lower():
        found.append({"address": reverse("vm-new"), "label": _("Create a virtual machine")})
    return found
