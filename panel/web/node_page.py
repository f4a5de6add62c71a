"""The page of one node: what it is and has, what runs on it, what is wrong."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from panel import __version__
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.cluster.selectors import get_node
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.core.errors import PanelError
from panel.monitoring.models import NodeWatch
from panel.monitoring.selectors import interfaces_of
from panel.monitoring.silence import silent_after
from panel.notices.selectors import list_problems
from panel.storage.models import NodePool
from panel.storage.node_part import LOW_ROOM_BYTES
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks
from panel.vms.selectors import list_vms
from panel.web import buttons, curves, meters, nodes
from panel.web.plain_form import changed
from panel.web.rendering import found_or_404, need, page, say, viewer_of
from panel.web.vm_page import open_task

MOST = 200
"""Rows of a list that is only a part of the page."""
TASKS = 10
RESTARTED = ("libvirtd", "vmwatch-node")
Status = tuple[str, Any]
LIBVIRT: dict[str, Status] = {
    "answers": ("ready", gettext_lazy("answers")),
    "off": ("failed", gettext_lazy("does not run")),
    "silent": ("failed", gettext_lazy("gives no answer")),
    "": ("unknown", gettext_lazy("not known")),
}
SPEAKS: Status = ("ready", gettext_lazy("speaks"))
SILENT: Status = ("silent", gettext_lazy("silent"))
REGIONS = {
    "head": "_node_head.html",
    "host": "_node_host.html",
    "node-vms": "_node_vms.html",
    "settings": "_node_settings_card.html",
}


def main_verbs(node: Node) -> tuple[str, ...]:
    """What matters of a node as it is now."""
    if node.state != "ready":
        return ("check", "reconnect")
    return ("end-maintenance", "evacuate") if node.maintenance else ("check", "maintain")


@login_required
def node_page(request: HttpRequest, node_id: int) -> HttpResponse:
    """One node."""
    viewer = viewer_of(request)
    task = open_task("node", node_id)
    node = found_or_404(get_node, viewer, node_id)
    use = meters.uses([node.pk]).get(node.pk, meters.Use())
    return page(
        request,
        "node.html",
        regions=REGIONS,
        node=node,
        task=task,
        buttons=buttons.at(viewer, node, task, kind="node", main=main_verbs(node)),
        problems=list_problems(viewer).filter(object_type="node", object_id=node.pk),
        use=use,
        cpu=meters.cpu(node, use),
        memory=meters.memory(node),
        statistics=curves.Card(
            f"/api/v1/nodes/{node.pk}/statistics",
            int(node.facts.get("cpu_count") or 1),
            of=_("Of the VMs that it has now"),
        ),
        storages=lambda: [_storage(each) for each in node.pools.all()],
        networks=lambda: sorted(node.networks.all(), key=lambda each: each.network.name),
        interfaces=lambda: _interfaces(viewer, node, task),
        services=lambda: services(viewer, node, task),
        version=__version__,
        # Of what lists show of a VM, this one has its owner alone.
        vms=lambda: (
            list_vms(viewer).prefetch_related(None).select_related("owner").filter(node=node).order_by("name")[:MOST]
        ),
        unmanaged=lambda: _unmanaged(viewer, node, task),
        tasks=lambda: list_tasks(viewer).filter(object_type="node", object_id=node.pk)[:TASKS],
        settings=nodes.NodeSettings(instance=node) if permissions.allows(viewer, "cluster.manage") else None,
        reconnect=_reconnect(viewer, node, task),
    )


def _reconnect(viewer: User, node: Node, task: Task | None) -> buttons.Button | None:
    operation = registry.get("node.reconnect")
    may = permissions.allows_operation(viewer, operation.permission, operation.name)
    return buttons.of(operation, node, task, label=_("Change")) if may else None


def _interfaces(viewer: User, node: Node, task: Task | None) -> dict[str, Any]:
    """The node's interfaces as they were told of, each with the button that removes it where the panel made it."""
    told = interfaces_of(node)
    add, remove = registry.get("node.add-link"), registry.get("node.remove-link")
    may = permissions.allows_operation(viewer, add.permission, add.name)
    ours = set(node.links.values_list("name", flat=True)) if may else set()
    label = _("Remove")
    rows = [
        {
            "link": each,
            "remove": buttons.of(remove, node, task, label=label, fixed={"link": each["name"]})
            if each["name"] in ours
            else None,
        }
        for each in told.interfaces
    ]
    return {"told": told, "rows": rows, "add": buttons.of(add, node, task) if may else None}


def _storage(on_node: NodePool) -> dict[str, Any]:
    total = on_node.capacity_bytes
    return {
        "on_node": on_node,
        "meter": meters.Meter(total - on_node.free_bytes, total),
        "high": max(0, total - LOW_ROOM_BYTES),
    }


def _unmanaged(viewer: User, node: Node, task: Task | None) -> list[tuple[Any, buttons.Button | None]]:
    """The node's domains that the panel does not know, each with the button that makes a VM of it."""
    operation = registry.get("vm.take-over")
    may = permissions.allows_operation(viewer, operation.permission, operation.name)
    return [
        (each, buttons.of(operation, node, task, fixed={"domain": str(each.uuid)}) if may else None)
        for each in node.unmanaged_domains.all()[:MOST]
    ]


@login_required
@require_POST
def node_settings(request: HttpRequest, node_id: int) -> HttpResponse:
    """Change what may be chosen of a node."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    node = found_or_404(get_node, viewer, node_id)
    form = nodes.NodeSettings(request.POST, instance=node)
    # Its rows are the service's to change: the form has written into this one.
    kept = found_or_404(get_node, viewer, node_id)
    if form.is_valid() and _changed(form, kept, viewer):
        return changed(say(HttpResponse(status=204), _("Saved.")))
    return render(request, "_node_settings.html", {"settings": form, "node": kept}, status=422)


def _changed(form: nodes.NodeSettings, node: Node, viewer: User) -> bool:
    try:
        set_node_policies(node, {name: form.cleaned_data[name] for name in form.changed_data}, viewer)
    except PanelError as error:
        told = Redaction(viewer).error(error)
        form.add_error(told.field if told.field in form.fields else None, told.message)
        return False
    return True


def services(viewer: User, node: Node, task: Task | None) -> list[dict[str, Any]]:
    """What runs on the node for the panel: how it was seen last, and the button that starts it anew."""
    operation = registry.get("node.restart-service")
    may = permissions.allows_operation(viewer, operation.permission, operation.name)
    watch = NodeWatch.objects.filter(node=node).first()
    heard = watch.heard_at if watch is not None else None
    silent = heard is None or timezone.now() - heard > silent_after()
    libvirt = node.facts.get("libvirt", "")
    found = [
        {"name": "libvirtd", "status": LIBVIRT.get(libvirt, LIBVIRT[""]), "at": node.facts_at},
        {"name": "vmwatch-node", "status": SILENT if silent else SPEAKS, "at": heard},
    ]
    buttons_of = {name: buttons.of(operation, node, task, fixed={"service": name}) for name in RESTARTED} if may else {}
    return [{**each, "button": buttons_of.get(str(each["name"]))} for each in found]
