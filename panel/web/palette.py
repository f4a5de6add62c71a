"""What Ctrl-K opens: pages, objects and what can be done, by what somebody types."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import kinds, permissions, wording
from panel.vms.selectors import find_vm
from panel.web import buttons, navigation, words
from panel.web.rendering import viewer_of
from panel.web.vm_page import main_verbs, open_task

LONGEST = 100
LEAST = 2
"""Characters by which objects are looked for."""


@login_required
def palette(request: HttpRequest) -> HttpResponse:
    """The palette, or what it finds for `q` when that region alone is asked for."""
    viewer = viewer_of(request)
    text = request.GET.get("q", "").strip()[:LONGEST]
    objects = _objects(viewer, text) if len(text) >= LEAST or text.isdecimal() else []
    context = {
        "pages": _pages(viewer, text),
        "objects": objects,
        "actions": _actions(viewer, text, objects),
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


def _actions(viewer: User, text: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What can be done with the first VM that was found, and what can be begun."""
    found: list[dict[str, Any]] = []
    first = next((pk for kind, pk in (each["of"] for each in objects) if kind == "vm"), None)
    vm = find_vm(viewer, first) if first is not None else None
    if vm is not None:
        task = open_task("vm", vm.pk)
        shown = buttons.at(viewer, vm, task, kind="vm", main=main_verbs(vm))
        found += [{"button": each, "label": f"{each.label}: {vm.name}"} for each in shown.main]
        if permissions.allows(viewer, "vms.console"):
            found.append({"address": reverse("vm-console", args=[vm.pk]), "label": f"{_('Console')}: {vm.name}"})
    if permissions.allows(viewer, "vms.create") and text.lower() in _("Create a virtual machine").lower():
        found.append({"address": reverse("vm-new"), "label": _("Create a virtual machine")})
    return found
