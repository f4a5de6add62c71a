"""A VM's other pages: its devices, its settings, its guest, its console."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from panel.cluster.redaction import Redaction
from panel.core import own_origin
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.vms.selectors import get_vm
from panel.web import buttons, console, devices
from panel.web.operation_form import OperationForm
from panel.web.rendering import found_or_404, need, page, viewer_of
from panel.web.vm_page import head, open_task

GROUPS: tuple[tuple[str | Promise, tuple[str, ...]], ...] = (
    (_("Description"), ("title", "description")),
    (_("Size"), ("vcpus", "memory_mib", "max_vcpus", "max_memory_mib")),
    (_("Shares and limits"), ("cpu_weight", "cpu_limit_percent", "io_weight", "inbound_kibps", "outbound_kibps")),
    (_("Processor"), ("cpu_mode", "cpu_model")),
    (_("Machine"), ("boot_order", "machine", "firmware", "clock")),
)
"""The settings in their order on the page."""
OFFERS: tuple[tuple[str, str | Promise], ...] = (
    (
        "vm.configure-guest",
        _(
            "At once where the guest's agent answers, else when the VM is shut down and started. "
            "Keys replace those that are there."
        ),
    ),
    (
        "vm.rescue",
        _("Another system boots with the VM's disks behind its own, until you end it. The VM is shut down for that."),
    ),
    (
        "vm.reinstall",
        _("Name, addresses and size stay. What is on the first disk is lost once the new system answers."),
    ),
    (
        "vm.clone",
        _("A new VM with copies of the disks. While this one runs they are of one moment, and it goes on."),
    ),
    ("vm.rename", _("The name in the panel and on the node. What the guest calls itself stays.")),
    ("vm.change-owner", _("The VM becomes another user's, with its disks, addresses and snapshots.")),
)
"""What is done with a VM's guest and identity, and what is told of each."""


KEYS = ("Ctrl+Alt+F1", "Ctrl+Alt+F2", "Ctrl+C", "Ctrl+D", "Alt+Tab", "Alt+F4", "Esc", "Tab", "Super")
"""What the console's menu sends, as its script knows it."""


@login_required
def vm_devices(request: HttpRequest, vm_id: int) -> HttpResponse:
    """A VM's disks, interfaces and drive."""
    viewer = viewer_of(request)
    task = open_task("vm", vm_id)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.devices")
    return page(
        request,
        "vm_devices.html",
        regions={"head": "_vm_head.html", "devices": "_vm_devices.html"},
        **head(request, viewer, vm, task),
        devices=devices.page(viewer, vm, task),
    )


@login_required
def vm_settings(request: HttpRequest, vm_id: int) -> HttpResponse:
    """The form of a VM's settings; what was filled in is asked for as vm.configure."""
    viewer = viewer_of(request)
    task = open_task("vm", vm_id)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.configure")
    operation = registry.get("vm.configure")
    form = OperationForm(operation, viewer, vm, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            operation.submit(viewer, form.raw, object_id=vm.pk)
        except PanelError as error:
            form.take(error, Redaction(viewer))
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("vm", args=[vm.pk])
            return response
    return page(
        request,
        "vm_settings.html",
        regions={"head": "_vm_head.html", "settings": "_vm_settings.html"},
        status=422 if form.is_bound else 200,
        **head(request, viewer, vm, task),
        form=form,
        groups=[
            (title, fields)
            for title, names in GROUPS
            if (fields := [form[name] for name in names if name in form.fields])
        ],
        why_not=operation.why_not(vm),
    )


@login_required
def vm_guest(request: HttpRequest, vm_id: int) -> HttpResponse:
    """What is done with a VM's guest and identity."""
    viewer = viewer_of(request)
    task = open_task("vm", vm_id)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.change")
    allowed = {each.name: each for each in registry.for_object("vm", viewer)}
    return page(
        request,
        "vm_guest.html",
        regions={"head": "_vm_head.html", "guest": "_vm_guest.html"},
        **head(request, viewer, vm, task),
        offers=[(buttons.of(allowed[name], vm, task), told) for name, told in OFFERS if name in allowed],
    )


@login_required
def vm_console(request: HttpRequest, vm_id: int) -> HttpResponse:
    """A VM's console."""
    viewer = viewer_of(request)
    task = open_task("vm", vm_id)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.console")
    return page(
        request,
        "vm_console.html",
        regions={"head": "_vm_head.html"},
        **head(request, viewer, vm, task),
        token=console.make_link(viewer.pk, vm.pk),
        keys=KEYS,
        origins=" ".join(own_origin.origins(request.get_host())),
    )


@login_required
@require_POST
def vm_console_link(request: HttpRequest, vm_id: int) -> HttpResponse:
    """Another link to the console, which is for this viewer, once and soon: a page that lost it connects anew."""
    viewer = viewer_of(request)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.console")
    return JsonResponse({"token": console.make_link(viewer.pk, vm.pk)})
