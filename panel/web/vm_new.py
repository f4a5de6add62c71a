"""The page on which a VM is created."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from panel.cluster.redaction import Redaction
from panel.core.errors import PanelError
from panel.images.selectors import isos_for, list_flavors, list_images
from panel.tasks import registry
from panel.web.operation_form import OperationForm
from panel.web.rendering import need, page, viewer_of

MOST_ISOS = 500
USUAL_FLAVOR = "small"
SIZES = ("vcpus", "memory_mib", "disk_gib")
PLACES = ("network", "address", "purpose", "security_groups", "pool", "node", "owner")
MORE = (
    "title", "description", "boot_order", "firmware", "machine", "clock", "cpu_mode", "cpu_model", "cpu_weight",
    "cpu_limit_percent", "io_weight", "max_memory_mib", "max_vcpus", "inbound_kibps", "outbound_kibps",
)  # fmt: skip
"""The fields by the parts of the page."""


@login_required
def vm_new(request: HttpRequest) -> HttpResponse:
    """The form (GET), what would be done with it as it is (POST for the region “plan”), or the creation (POST)."""
    viewer = viewer_of(request)
    need(viewer, "vms.create")
    operation = registry.get("vm.create")
    form = OperationForm(operation, viewer, None, request.POST if request.method == "POST" else None)
    for name in ("image", "iso", "flavor"):
        form.fields[name].help_text = ""
    redaction = Redaction(viewer)
    if request.headers.get("HX-Target") == "plan":
        return _plan(request, form, redaction)
    if form.is_valid():
        try:
            task = operation.submit(viewer, form.raw)
        except PanelError as error:
            form.take(error, redaction)
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("vm", args=[task.object_id])
            return response
    images, flavors = list(list_images(viewer)), list(list_flavors(viewer))
    return page(
        request,
        "vm_new.html",
        regions={"create": "_vm_new.html"},
        status=422 if form.is_bound else 200,
        form=form,
        images=images,
        isos=dict(isos_for(viewer).values_list("name", "title")[:MOST_ISOS]),
        flavors=flavors,
        chosen=_chosen(form, [each.name for each in images], [each.name for each in flavors]),
        sizes=_fields(form, SIZES),
        places=_fields(form, PLACES),
        more=_fields(form, MORE),
    )


def _fields(form: OperationForm, names: tuple[str, ...]) -> list[Any]:
    return [form[name] for name in names if name in form.fields]


def _chosen(form: OperationForm, images: list[str], flavors: list[str]) -> dict[str, str]:
    if form.is_bound:
        return {name: str(form.data.get(name, "")) for name in ("image", "iso", "flavor")}
    flavor = USUAL_FLAVOR if USUAL_FLAVOR in flavors else "".join(flavors[:1])
    return {"image": "".join(images[:1]), "iso": "", "flavor": flavor}


def _plan(request: HttpRequest, form: OperationForm, redaction: Redaction) -> HttpResponse:
    viewer = viewer_of(request)
    context: dict[str, Any] = {}
    if not form.is_valid():
        context["wrong"] = [(field.label, field.errors) for field in form.visible_fields() if field.errors]
        # What is yet to be filled in is no fault while one fills in the rest.
        context["incomplete"] = not any(request.POST.get(field.name) for field in form if field.errors)
        return render(request, "_plan.html", context)
    try:
        context["plan"] = redaction.data(registry.get("vm.create").plan(viewer, form.raw))
    except PanelError as error:
        context["refusal"] = redaction.error(error).message
    return render(request, "_plan.html", context)
