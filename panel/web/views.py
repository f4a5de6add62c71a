"""The pages. They read through selectors; whatever changes something goes to the REST API from their scripts."""

from __future__ import annotations

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
from panel.cluster.selectors import list_nodes
from panel.core import own_origin
from panel.core.errors import BadCredentials, Throttled
from panel.images.selectors import isos_for, list_flavors, list_images
from panel.network.selectors import list_networks
from panel.tasks import registry
from panel.vms.selectors import get_vm
from panel.web import console, devices, settings_form, signing_in
from panel.web.rendering import found_or_404 as _or_404
from panel.web.rendering import need as _need
from panel.web.rendering import page as _page
from panel.web.rendering import viewer_of as _viewer
from panel.web.vm_page import open_task


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
