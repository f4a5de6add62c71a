"""The pages. They read through selectors; whatever changes something goes to the REST API from their scripts."""

from __future__ import annotations

import json
import mimetypes
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from panel.accounts import second_factor, sessions, signin_keys, throttling
from panel.accounts.models import User
from panel.cluster.selectors import default_cluster, get_node, list_nodes
from panel.core import own_origin, permissions
from panel.core.errors import BadCredentials, Throttled
from panel.images.selectors import isos_for, list_flavors, list_images
from panel.monitoring.statistics.selectors import PERIODS, traffic, warnings
from panel.network.selectors import list_networks
from panel.notices.selectors import list_problems
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.models import Task
from panel.tasks.selectors import get_task, list_tasks, open_tasks_of
from panel.vms import snapshots, timeline
from panel.vms.machine import may_adopt
from panel.vms.models import UnmanagedDomain
from panel.vms.selectors import get_vm, history, list_vms
from panel.web import console, devices, differences, settings_form, signing_in
from panel.web.rendering import found_or_404 as _or_404
from panel.web.rendering import need as _need
from panel.web.rendering import page as _page
from panel.web.rendering import rows as _rows
from panel.web.rendering import viewer_of as _viewer

MOST_INSIDE = 200
"""Rows of a list that is only a part of a page."""
TIMELINE = timedelta(hours=24)
"""How much of a VM's history its page shows as a line, unless the VM is younger."""
MONTHS = 3
"""Of how many months a VM's page shows the traffic."""
GROUP = ("vm.start", "vm.stop", "vm.restart", "vm.force-off", "vm.delete")
"""What a list offers for all that are chosen in it."""
LAST_VERBS = ("delete", "remove")
ASSETS = Path(__file__).parent / "static"


class SignIn(LoginView):
    """Name and password."""

    template_name = "login.html"
    form_class = signing_in.NameAndPassword
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin the session."""
        user = form.get_user()
        assert isinstance(user, User)
        if second_factor.is_on(user):
            signing_in.password_was_right(self.request, user, self.get_success_url())
            return redirect("login-code")
        sessions.begin(self.request, user, "password")
        return redirect(self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Say what was wrong; 429 where it was not looked at."""
        answer = super().form_invalid(form)
        if form.has_error(NON_FIELD_ERRORS, Throttled.code):
            answer.status_code = Throttled.status
        return answer


def sign_in_by_key(request: HttpRequest, key: str) -> HttpResponse:
    """Sign the browser in by a one-time key, as a billing system sends it; a key that is none leads to the form."""
    try:
        with throttling.from_address(str(request.META.get("REMOTE_ADDR", ""))) as attempt:
            user, leads_to = signin_keys.redeem(key)
            attempt.forgive()
    except (BadCredentials, Throttled) as error:
        messages.error(request, error.message)
        return redirect("login")
    sessions.begin(request, user, "key")
    return redirect(leads_to)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    sessions.end(request)
    return redirect("login")


def _actions(kind: str, viewer: User, obj: Any, task: Task | None) -> dict[str, list[dict[str, Any]]]:
    """The buttons of an object, from the registry, and under `more` the rare ones that make sense now.

    Those that make no sense now, or must wait for `task`, are off.
    """
    # What cannot be taken back comes last, farthest from what is pressed often.
    found = sorted(registry.for_object(kind, viewer), key=lambda each: (each.dangerous, each.verb in LAST_VERBS))
    reasons = [(each, each.why_not(obj)) for each in found if not each.placed]
    buttons: list[dict[str, Any]] = [
        {
            "operation": each,
            "on": not why_not and (task is None or task.operation in each.supersedes),
            "why_not": why_not or (f"Wait until “{task.title}” has ended." if task is not None else ""),
            "form": _form(each, obj),
            "warning": each.warning_about(obj),
        }
        for each, why_not in reasons
        if not (why_not and each.rare)
    ]
    always, more = ([each for each in buttons if each["operation"].rare is rare] for rare in (False, True))
    return {"always": always, "more": more}


def _open_task(kind: str, object_id: int) -> Task | None:
    """The task that is at work on the object. Read before the object itself: a page without a task shows what it left.

    A page with one is read again when its events begin to arrive; one that missed the task's end would stay as it was.
    """
    return open_tasks_of(kind, [object_id]).get(object_id)


def _form(operation: Declaration[Any], obj: Any) -> str:
    """What the button's dialog asks for, as JSON for its script; empty where a click is enough."""
    schema = operation.params.model_json_schema()
    if not operation.asks and not schema.get("required"):
        return ""
    return json.dumps({"schema": schema, "initial": operation.initial(obj)}, default=str)


@login_required
def vm_list(request: HttpRequest) -> HttpResponse:
    """The VMs."""
    viewer = _viewer(request)
    page = _rows(request, list_vms(viewer))
    tasks = open_tasks_of("vm", [vm.pk for vm in page])
    rows = [{"vm": vm, "task": tasks.get(vm.pk), "warnings": warnings(vm)} for vm in page]
    return _page(
        request,
        "vm_list.html",
        rows=rows,
        page=page,
        may_create=permissions.allows(viewer, "vms.create"),
        group=sorted(
            (each for each in registry.for_object("vm", viewer) if each.name in GROUP),
            key=lambda each: GROUP.index(each.name),
        ),
    )


@login_required
def vm_new(request: HttpRequest) -> HttpResponse:
    """The form for a new VM."""
    viewer = _viewer(request)
    _need(viewer, "vms.create")
    return _page(
        request,
        "vm_new.html",
        images=list_images(viewer),
        isos=dict.fromkeys(isos_for(viewer).values_list("name", flat=True)[: devices.MOST_ISOS]),
        flavors=list_flavors(viewer),
        networks=list_networks(viewer),
        nodes=list_nodes(viewer),
    )


@login_required
def vm_page(request: HttpRequest, vm_id: int) -> HttpResponse:
    """One VM."""
    viewer = _viewer(request)
    task = _open_task("vm", vm_id)
    vm = _or_404(get_vm, viewer, vm_id)
    tree = snapshots.tree(vm)
    now = timezone.now()
    start = max(now - TIMELINE, vm.created_at)
    return _page(
        request,
        "vm.html",
        vm=vm,
        copies=vm.sightings.select_related("node") if permissions.allows(viewer, "cluster.manage") else (),
        problems=list_problems(viewer).filter(object_type="vm", object_id=vm.pk),
        warnings=warnings(vm),
        traffic=traffic(viewer, vm.pk)[:MONTHS],
        periods=PERIODS,
        timeline=timeline.of(vm, start, now),
        timeline_start=start,
        actions=_actions("vm", viewer, vm, task),
        snapshots=tree,
        no_revert={kept: snapshots.why_no_revert(vm, with_memory=kept == "memory") for kept in ("disks", "memory")}
        if tree
        else {},
        unmanaged_snapshots=[(each, json.dumps({"name": each["name"]})) for each in vm.unmanaged_snapshots],
        may_snapshot=permissions.allows(viewer, "vms.snapshot"),
        may_power=permissions.allows(viewer, "vms.power"),
        history=history(vm),
        tasks=list_tasks(viewer).filter(object_type="vm", object_id=vm.pk)[:10],
        task=task,
        may_console=permissions.allows(viewer, "vms.console"),
        may_change=permissions.allows(viewer, "vms.change"),
        may_change_devices=permissions.allows(viewer, "vms.devices"),
        may_configure=permissions.allows(viewer, "vms.configure"),
        pending=differences.table(vm.pending, "now", "then"),
        drift=differences.table(vm.drift, "node", "stored") if permissions.allows(viewer, "cluster.view") else (),
        adoptable=may_adopt(vm.drift),
    )


@login_required
def vm_settings(request: HttpRequest, vm_id: int) -> HttpResponse:
    """The form of a VM's settings."""
    viewer = _viewer(request)
    vm = _or_404(get_vm, viewer, vm_id)
    _need(viewer, "vms.configure")
    return _page(
        request, "vm_settings.html", vm=vm, numbers=settings_form.numbers(vm), choices=settings_form.choices(vm)
    )


@login_required
def vm_devices(request: HttpRequest, vm_id: int) -> HttpResponse:
    """A VM's disks, interfaces and drive."""
    viewer = _viewer(request)
    task = _open_task("vm", vm_id)
    vm = _or_404(get_vm, viewer, vm_id)
    _need(viewer, "vms.devices")
    return _page(request, "vm_devices.html", vm=vm, task=task, devices=devices.page(viewer, vm, task))


@login_required
def vm_console(request: HttpRequest, vm_id: int) -> HttpResponse:
    """A VM's console: the link in the page is for this viewer, once and soon."""
    viewer = _viewer(request)
    vm = _or_404(get_vm, viewer, vm_id)
    _need(viewer, "vms.console")
    token = console.make_link(viewer.pk, vm.pk)
    origins = " ".join(own_origin.origins(request.get_host()))
    return _page(request, "console.html", vm=vm, token=token, origins=origins)


@login_required
def vm_guest(request: HttpRequest, vm_id: int) -> HttpResponse:
    """The forms of what is done with a VM's guest and identity."""
    viewer = _viewer(request)
    vm = _or_404(get_vm, viewer, vm_id)
    _need(viewer, "vms.change")
    why_not = {each.verb.replace("-", "_"): each.why_not(vm) for each in registry.for_object("vm", viewer)}
    return _page(
        request,
        "vm_guest.html",
        vm=vm,
        why_not=why_not,
        images=list_images(viewer),
        rescue_image=settings.CONFIG.rescue_image,
        reinstall_warning=registry.get("vm.reinstall").warning_about(vm),
    )


@login_required
def node_list(request: HttpRequest) -> HttpResponse:
    """The nodes."""
    viewer = _viewer(request)
    _need(viewer, "cluster.view")
    may_add = permissions.allows(viewer, "cluster.manage")
    page = _rows(request, list_nodes(viewer))
    return _page(request, "node_list.html", nodes=page, page=page, may_add=may_add, policies=default_cluster())


@login_required
def node_new(request: HttpRequest) -> HttpResponse:
    """The form for a new node."""
    _need(_viewer(request), "cluster.manage")
    return _page(request, "node_new.html")


@login_required
def node_page(request: HttpRequest, node_id: int) -> HttpResponse:
    """One node."""
    viewer = _viewer(request)
    task = _open_task("node", node_id)
    node = _or_404(get_node, viewer, node_id)
    return _page(
        request,
        "node.html",
        node=node,
        actions=_actions("node", viewer, node, task),
        vms=list_vms(viewer).filter(node=node)[:MOST_INSIDE],
        foreign=[(each, _import(each)) for each in node.unmanaged_domains.all()[:MOST_INSIDE]],
        import_domain=permissions.allows(viewer, registry.get("vm.take-over").permission),
        problems=list_problems(viewer).filter(object_type="node", object_id=node.pk),
        task=task,
    )


def _import(domain: UnmanagedDomain) -> dict[str, Any]:
    """The button that makes a VM of a domain that the panel does not know."""
    operation = registry.get("vm.take-over")
    fixed = json.dumps({"domain": str(domain.uuid)})
    return {"operation": operation, "on": True, "form": _form(operation, domain), "fixed": fixed}


@login_required
def task_list(request: HttpRequest) -> HttpResponse:
    """The tasks."""
    page = _rows(request, list_tasks(_viewer(request)))
    return _page(request, "task_list.html", tasks=page, page=page)


@login_required
def task_page(request: HttpRequest, task_id: int) -> HttpResponse:
    """One task."""
    return _page(request, "task.html", task=_or_404(get_task, _viewer(request), task_id))


@login_required
def problem_list(request: HttpRequest) -> HttpResponse:
    """The open problems."""
    _need(_viewer(request), "notices.view")
    page = _rows(request, list_problems(_viewer(request)))
    return _page(request, "problem_list.html", problems=page, page=page)


def asset(request: HttpRequest, name: str) -> FileResponse:
    """A file of the pages: style, scripts, noVNC. In front of a busy panel nginx serves them."""
    path = (ASSETS / name).resolve()
    if not path.is_relative_to(ASSETS.resolve()) or not path.is_file():
        raise Http404("There is no such file.")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    response = FileResponse(path.open("rb"), content_type=kind)
    response.headers["Cache-Control"] = "no-cache" if settings.DEBUG else "max-age=300"
    return response
