"""The page of one node: what it is and has, what runs on it, what is wrong."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import get_node
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.monitoring.models import NodeWatch
from panel.notices.selectors import list_problems
from panel.storage.models import NodePool
from panel.storage.node_part import LOW_ROOM_BYTES
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks
from panel.vms.selectors import list_vms
from panel.web import buttons, meters, nodes
from panel.web.rendering import found_or_404, need, page, say, viewer_of
from panel.web.vm_page import open_task

MOST = 200
"""Rows of a list that is only a part of the page."""
TASKS = 10
REGIONS = {"head": "_node_head.html", "host": "_node_host.html", "node-vms": "_node_vms.html"}


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
        storages=lambda: [_storage(each) for each in node.pools.all()],
        networks=lambda: sorted(node.networks.all(), key=lambda each: each.network.name),
        watch=lambda: NodeWatch.objects.filter(node=node).first(),
        # Of what lists show of a VM, this one has its owner alone.
        vms=lambda: (
            list_vms(viewer).prefetch_related(None).select_related("owner").filter(node=node).order_by("name")[:MOST]
        ),
        unmanaged=lambda: _unmanaged(viewer, node, task),
        tasks=lambda: list_tasks(viewer).filter(object_type="node", object_id=node.pk)[:TASKS],
        settings=nodes.NodeSettings(instance=node) if permissions.allows(viewer, "cluster.manage") else None,
    )


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
    if not form.is_valid():
        return render(request, "_node_settings.html", {"settings": form, "node": node}, status=422)
    set_node_policies(node, form.cleaned_data)
    return say(HttpResponse(status=204), _("Saved."))
