"""“Add a node”: where the host is; when its key was read, whether it is the host's, and how the panel gets in.

A host is asked for its key by a task, whose end the page shows as it comes. node.add gets the key that was confirmed,
and refuses a host that shows another one.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.core import wording
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.tasks.models import OPEN, Status, Task
from panel.tasks.selectors import list_tasks
from panel.web.operation_form import OperationForm, style
from panel.web.plain_form import lead_to
from panel.web.rendering import need, page, viewer_of

READ, ADD = "cluster.read-host-key", "node.add"
PARTS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (gettext_lazy("The node"), ("name", "virtualization")),
    (gettext_lazy("The way in"), ("ssh_user", "password", "key")),
)
"""In which the second form stands, below the host's key."""


@login_required
def node_new(request: HttpRequest) -> HttpResponse:
    """The first form, or (with ?task=, which read the host's keys) the second; it leads to the node's page."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    task = _reading(viewer, request.GET["task"]) if "task" in request.GET else None
    if task is None:
        return _where(request, viewer)
    where = {name: task.params[name] for name in ("address", "ssh_port")}
    found = (task.result or {}).get("keys", []) if task.status == Status.DONE else []
    if request.method == "POST" and found:
        return _add(request, viewer, task, where, found)
    return page(
        request,
        "node_new.html",
        regions={"node-new": "_node_new.html"},
        task=task,
        running=task.status in OPEN,
        where=_form(READ, viewer, initial=where),
        **(_second(AddForm(registry.get(ADD), viewer, None, keys=found), where) if found else {}),
    )


class AddForm(OperationForm):
    """What node.add wants besides the host's place, which stands already; and that the key is the host's."""

    confirmed = forms.BooleanField(
        label=gettext_lazy("This is the host's key: I compared it on the host"),
        error_messages={"required": gettext_lazy("Compare the fingerprint on the host, and say so here.")},
    )

    def __init__(self, *args: Any, keys: list[dict[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = keys
        self.fields["host_key"] = forms.ChoiceField(choices=[(each["fingerprint"], each["kind"]) for each in keys])
        self.fields["host_key"].initial = keys[0]["fingerprint"]
        style(self.fields["confirmed"])

    @property
    def raw(self) -> dict[str, Any]:
        """What node.add takes."""
        return {name: value for name, value in super().raw.items() if name != "confirmed"}

    @property
    def offered(self) -> list[dict[str, str | bool]]:
        """The host's keys to choose from."""
        chosen = self["host_key"].value()
        return [{**each, "on": each["fingerprint"] == chosen} for each in self.keys]


def _reading(viewer: User, number: str) -> Task:
    """The task that reads a host's keys; as absent what is another one."""
    found = list_tasks(viewer).filter(operation=READ, pk=int(number) if number.isdecimal() else 0).first()
    if found is None:
        raise Http404("There is no such task.")
    return found


def _form(name: str, viewer: User, data: Any = None, **options: Any) -> OperationForm:
    return OperationForm(registry.get(name), viewer, None, data, **options)


def _where(request: HttpRequest, viewer: User) -> HttpResponse:
    """The first form; posted, the host is asked for its keys."""
    form = _form(READ, viewer, request.POST if request.method == "POST" else None)
    if form.is_valid():
        taken = Node.objects.filter(**form.cleaned_data).exists()
        if taken:
            form.add_error("address", wording.translated("Another node has this address."))
        else:
            return _ask(form, viewer)
    if form.is_bound:
        return render(request, "_node_where.html", {"where": form}, status=422)
    return page(request, "node_new.html", where=form)


def _ask(form: OperationForm, viewer: User) -> HttpResponse:
    task = registry.get(READ).submit(viewer, form.raw, object_id=1)
    return lead_to(f"{reverse('node-new')}?task={task.pk}")


def _add(
    request: HttpRequest, viewer: User, task: Task, where: dict[str, Any], found: list[dict[str, str]]
) -> HttpResponse:
    data = request.POST.copy()
    data.update({name: str(value) for name, value in where.items()})
    form = AddForm(registry.get(ADD), viewer, None, data, keys=found)
    if form.is_valid():
        try:
            made = registry.get(ADD).submit(viewer, form.raw)
        except PanelError as error:
            told = Redaction(viewer).error(error)
            shown = {name for _title, names in PARTS for name in names}
            form.add_error(told.field if told.field in shown else None, told.message)
        else:
            return lead_to(reverse("node", args=[made.object_id]))
    return render(request, "_node_add.html", {"task": task, **_second(form, where)}, status=422)


def _second(form: AddForm, where: dict[str, Any]) -> dict[str, Any]:
    parts = [(title, [form[name] for name in names]) for title, names in PARTS]
    return {"form": form, "parts": parts, "address": where["address"], "port": where["ssh_port"]}
