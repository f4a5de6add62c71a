"""The page of one network: its subnets and ranges, how it is on each node, what was done with it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.network.models import IpPool, Network, Purpose, Subnet
from panel.network.ranges import in_use, purpose_of, size
from panel.network.selectors import get_network
from panel.network.subnets import used_by_subnet
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks
from panel.web import buttons, words
from panel.web.networks import MOST_COUNTED
from panel.web.rendering import found_or_404, need, page, viewer_of
from panel.web.vm_page import open_task

MOST_NODES = 200
TASKS = 10
REGIONS = {"head": "_network_head.html", "network": "_network.html"}
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
OF_A_SUBNET = {"network.change-subnet": _("Change"), "network.remove-subnet": _("Remove")}


@dataclass(frozen=True)
class Row:
    """A subnet with its ranges, each with how many of its addresses are in use, and what can be done with it."""

    subnet: Subnet
    used: int
    ranges: Sequence[RangeRow]
    actions: Sequence[buttons.Button]


@dataclass(frozen=True)
class RangeRow:
    """A range; of one too large to be counted `free` is None."""

    range: IpPool
    used: int
    free: int | None
    purpose: str
    actions: Sequence[buttons.Button]


@login_required
def network_page(request: HttpRequest, network_id: int) -> HttpResponse:
    """One network."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    task = open_task("network", network_id)
    network: Network = found_or_404(get_network, viewer, network_id)
    return page(
        request,
        "network.html",
        regions=REGIONS,
        network=network,
        task=task,
        buttons=buttons.at(viewer, network, task, kind="network", main=("add-subnet", "change")),
        options=[(words.PARAMETERS.get(name, name), value) for name, value in network.options.items() if value],
        subnets=lambda: _subnets(viewer, network, task),
        on_nodes=lambda: _on_nodes(viewer, network),
        tasks=lambda: list_tasks(viewer).filter(object_type="network", object_id=network.pk)[:TASKS],
    )


def _subnets(viewer: User, network: Network, task: Task | None) -> list[Row]:
    operations = [(registry.get(name), str(label)) for name, label in OF_A_SUBNET.items()]
    may = permissions.allows(viewer, "cluster.manage")
    used, of_subnet = in_use(IpPool.objects.filter(subnet__network=network)), used_by_subnet(network)
    return [
        Row(
            subnet,
            used=of_subnet[subnet.pk],
            ranges=[_range(pool, used.get(pool.pk, 0), network, task, may) for pool in subnet.ranges.all()],
            actions=[
                buttons.of(each, network, task, label=label, fixed={"subnet": subnet.cidr})
                for each, label in operations
                if may
            ],
        )
        for subnet in network.subnets.all()
    ]


def _range(pool: IpPool, used: int, network: Network, task: Task | None, may: bool) -> RangeRow:
    free, change = size(pool) - used, registry.get("network.change-range")
    button = buttons.of(change, network, task, label=str(_("Change range")), fixed={"range": str(pool)})
    purpose = str(Purpose(purpose_of(pool)).label)
    return RangeRow(pool, used, free if free <= MOST_COUNTED else None, purpose, [button] if may else [])


def _on_nodes(viewer: User, network: Network) -> list[dict[str, Any]]:
    """The network on each node; a node that has not been told of it yet has no `state`."""
    known = {each.node_id: each for each in network.on_nodes.all()}
    nodes = list_nodes(viewer).prefetch_related(None).filter(cluster=network.cluster_id).order_by("name")[:MOST_NODES]
    return [{"node": node, "there": known.get(node.pk)} for node in nodes]
