"""The pages. They read through selectors; whatever changes something goes to the REST API from their scripts."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from panel.accounts import second_factor, sessions, signin_keys, throttling
from panel.accounts.models import User
from panel.cluster.selectors import default_cluster, get_node, list_nodes
from panel.core import own_origin, permissions
from panel.core.errors import BadCredentials, Throttled
from panel.images.selectors import isos_for, list_flavors, list_images
from panel.network.selectors import list_networks
from panel.notices.selectors import list_problems
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.models import Task
from panel.vms.models import UnmanagedDomain
from panel.vms.selectors import get_vm, list_vms
from panel.web import console, devices, settings_form, signing_in
from panel.web.rendering import found_or_404 as _or_404
from panel.web.rendering import need as _need
from panel.web.rendering import page as _page
from panel.web.rendering import rows as _rows
from panel.web.rendering import viewer_of as _viewer
from panel.web.vm_page import open_task

MOST_INSIDE = 200
"""Rows of a list that is only a part of a page."""
LAST_VERBS = ("delete", "remove")


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


def _form(operation: Declaration[Any], obj: Any) -> str:
    """What the button's dialog asks for, as JSON for its script; empty where a click is enough."""
    schema = operation.params.model_json_schema()
    if not operation.asks and not schema.get("required"):
        return ""
    return json.dumps({"schema": schema, "initial": operation.initial(obj)}, default=str)


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
    task = open_task("vm", vm_id)
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
    task = open_task("node", node_id)
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
