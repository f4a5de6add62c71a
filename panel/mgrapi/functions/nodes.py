"""`vmhostnode`, `vmhostnode.edit`, `vmhostnode.info`, `vmhostnode.delete`: the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import Greatest

from panel.accounts.models import User
from panel.cluster.models import NodeState
from panel.cluster.selectors import list_nodes
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.core.errors import NotFound
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows, Translated
from panel.mgrapi.functions.lists import chosen, listed
from panel.tasks import registry

NO_LIMIT = 10_000
"""What `maxvmcount` says for any number: clients choose nodes by comparing it with `countvm`."""
FILTERS = {"id": "pk", "name": "name__icontains", "ip": "address"}


def _nodes(viewer: User) -> QuerySet[Any]:
    permissions.require(viewer, "cluster.view")
    promised = Sum(Greatest(F("vms__memory_mib"), F("vms__max_memory_mib")))
    return list_nodes(viewer).prefetch_related(None).annotate(vm_count=Count("vms"), promised_mib=promised)


def _node(viewer: User, call: Call) -> Any:
    node = _nodes(viewer).filter(pk=call.id()).first()
    if node is None:
        raise NotFound(object="hostnode", id=call.id())
    return node


def _percent(part: int | None, whole: Any) -> str:
    return f"{round(100 * (part or 0) / whole)}%" if whole else "0%"


def _row(node: Any) -> Mapping[str, Cell]:
    return {
        "id": node.pk,
        "name": node.name,
        "ip": node.address,
        "status": Translated(node.state, NodeState(node.state).label),
        "countvm": node.vm_count,
        "maxvmcount": node.max_vms if node.max_vms is not None else NO_LIMIT,
        "meminfo": _percent(node.promised_mib, node.facts.get("memory_mib")),
        "maintenance": node.maintenance,
    }


def vmhostnode(viewer: User, call: Call) -> Rows:
    """The nodes. `meminfo` is how much of the memory is promised to VMs."""
    return listed(call, _nodes(viewer), _row, FILTERS)


INFO_WORDS = {
    "name": "Name",
    "ip": "Address",
    "status": "Status",
    "countvm": "VMs",
    "maxvmcount": "VMs at most",
    "mem": "Memory",
    "paid_mem": "Memory promised to VMs",
    "cpu": "CPUs",
    "accel": "Virtualization",
}


def info(viewer: User, call: Call) -> Rows:
    """What is known of one node, a row each, with `type` and `info`. `paid_mem` is the memory promised to VMs."""
    node = _node(viewer, call)
    facts, row = dict(node.facts), _row(node)
    known: dict[str, Cell] = {name: row[name] for name in INFO_WORDS if name in row}
    known["mem"] = _mib(facts.pop("memory_mib", None))
    known["paid_mem"] = _mib(node.promised_mib or 0)
    known |= {"cpu": facts.pop("cpu_count", None), "accel": node.accel}
    known |= {name: value for name, value in facts.items() if isinstance(value, str) or type(value) is int}
    rows = [
        {
            "type": Translated(name, INFO_WORDS.get(name, name)),
            "info": value.words if isinstance(value, Translated) else value,
        }
        for name, value in known.items()
        if value is not None
    ]
    return chosen(call, rows)


def _mib(number: int | None) -> str | None:
    return None if number is None else f"{number} MiB"


def edit(viewer: User, call: Call) -> Answer:
    """A new node, or how many VMs one may have."""
    permissions.require(viewer, "cluster.manage")
    if not call.text("elid"):
        return _added(viewer, call)
    node = _node(viewer, call)
    if not call.sok:
        return Form({"elid": node.pk, **_row(node)})
    most = call.number("maxvmcount")
    if most is not None:
        set_node_policies(node, {"max_vms": most if 0 < most < NO_LIMIT else None}, viewer)
    return Done()


def _added(viewer: User, call: Call) -> Answer:
    if not call.sok:
        return Form({"name": "", "ip": "", "sshport": 22, "sshuser": "root", "passwd": ""})
    asked: dict[str, Any] = {"name": call.need("name"), "address": call.need("ip")}
    if password := call.params.get("passwd") or call.params.get("password"):
        asked["password"] = password
    if port := call.number("sshport"):
        asked["ssh_port"] = port
    if user := call.text("sshuser"):
        asked["ssh_user"] = user
    task = registry.get("node.add").submit(viewer, asked)
    return Done({"id": task.object_id, "elid": task.object_id})


def delete(viewer: User, call: Call) -> Done:
    """The nodes, which have no VMs any more, are taken out of the cluster, and their hosts left clean."""
    permissions.require(viewer, "cluster.manage")
    there = list_nodes(viewer).prefetch_related(None).in_bulk(call.ids())
    for pk in call.ids():
        if pk not in there:
            raise NotFound(object="hostnode", id=pk)
    with transaction.atomic():
        for pk in call.ids():
            registry.get("node.remove").submit(viewer, {}, object_id=pk)
    return Done()


FUNCTIONS: dict[str, Callable[[User, Call], Answer]] = {
    "vmhostnode": vmhostnode,
    "vmhostnode.delete": delete,
    "vmhostnode.edit": edit,
    "vmhostnode.info": info,
}
