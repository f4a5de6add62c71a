"""A VM's other pages: its devices, its settings, its guest, its console."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from panel.cluster.redaction import Redaction
from panel.core import own_origin
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.vms.selectors import get_vm
from panel.web import buttons, console, devices, differences
from panel.web.operation_form import OperationForm
from panel.web.rendering import found_or_404, need, viewer_of
from panel.web.vm_page import Look, of_vm

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
SERIAL_KEYS = {
    "Ctrl+C": "03",
    "Ctrl+D": "04",
    "Ctrl+Z": "1a",
    "Ctrl+\\": "1c",
    "Esc": "1b",
    "Tab": "09",
    "↑": "1b5b41",
    "↓": "1b5b42",
}
"""What the serial console's menu sends: bytes, in hexadecimal."""


@of_vm("vms.devices")
def vm_devices(look: Look) -> HttpResponse:
    """A VM's disks, interfaces and drive."""
    return look.page(
        "vm_devices.html",
        regions={"devices": "_vm_devices.html"},
        devices=cache(lambda: devices.page(look.viewer, look.vm, look.task)),
    )


@of_vm("vms.configure")
def vm_settings(look: Look) -> HttpResponse:
    """The form of a VM's settings; what was filled in is asked for as vm.configure."""
    request, viewer, vm = look.request, look.viewer, look.vm
    operation = registry.get("vm.configure")
    form = OperationForm(operation, viewer, vm, request.POST if request.method == "POST" else None)
    for name, now in differences.waiting(vm).items():
        if name in form.fields:
            told = gettext("At the next start; now it is: %(now)s.") % {"now": now}
            form.fields[name].help_text = f"{form.fields[name].help_text} {told}".strip()
    if form.is_valid():
        try:
            operation.submit(viewer, form.raw, object_id=vm.pk)
        except PanelError as error:
            form.take(error, Redaction(viewer))
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("vm", args=[vm.pk])
            return response
    return look.page(
        "vm_settings.html",
        regions={"settings": "_vm_settings.html"},
        status=422 if form.is_bound else 200,
        form=form,
        groups=[
            (title, fields)
            for title, names in GROUPS
            if (fields := [form[name] for name in names if name in form.fields])
        ],
        why_not=operation.why_not(vm),
    )


@of_vm("vms.change")
def vm_guest(look: Look) -> HttpResponse:
    """What is done with a VM's guest and identity."""
    allowed = {each.name: each for each in registry.for_object("vm", look.viewer)}
    return look.page(
        "vm_guest.html",
        regions={"guest": "_vm_guest.html"},
        offers=[(buttons.of(allowed[name], look.vm, look.task), told) for name, told in OFFERS if name in allowed],
    )


@of_vm("vms.console")
def vm_console(look: Look) -> HttpResponse:
    """A VM's screen."""
    return _console(look, "vm_console.html", console.SCREEN, keys=KEYS)


@of_vm("vms.console")
def vm_serial(look: Look) -> HttpResponse:
    """A VM's serial port."""
    return _console(look, "vm_serial.html", console.SERIAL, keys=SERIAL_KEYS)


def _console(look: Look, template: str, kind: str, **context: Any) -> HttpResponse:
    return look.page(
        template,
        token=console.make_link(look.viewer.pk, look.vm.pk, kind),
        origins=" ".join(own_origin.origins(look.request.get_host())),
        kind=kind,
        **context,
    )


@login_required
@require_POST
def vm_console_link(request: HttpRequest, vm_id: int) -> HttpResponse:
    """Another link to the console, which is for this viewer, once and soon: a page that lost it connects anew."""
    viewer = viewer_of(request)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.console")
    kind = request.GET.get("kind", console.SCREEN)
    if kind not in console.KINDS:
        return HttpResponseBadRequest()
    return JsonResponse({"token": console.make_link(viewer.pk, vm.pk, kind)})
