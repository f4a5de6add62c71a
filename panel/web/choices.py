"""What can be chosen for operations' parameters that name other objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext

from panel.accounts.models import User
from panel.accounts.selectors import list_users
from panel.cluster.selectors import list_nodes
from panel.core import permissions, wording
from panel.images.selectors import isos_for, list_flavors, list_images
from panel.network.kinds import KINDS
from panel.network.selectors import list_networks
from panel.storage.models import Pool
from panel.tasks.declaration import Declaration
from panel.web import words
from panel.web.templatetags.units import MIB_A_GIB, mib

MOST = 500
"""Of a choice; whoever has more names it."""
Found = list[tuple[str, str]]


def _nodes(viewer: User, obj: Any) -> Found | None:
    if not permissions.allows(viewer, "cluster.view"):
        return []
    own = getattr(obj, "node_id", None)
    return [(node.name, node.name) for node in list_nodes(viewer)[:MOST] if node.pk != own]


def _images(viewer: User, obj: Any) -> Found:
    return [(each.name, each.title) for each in list_images(viewer)[:MOST]]


def _isos(viewer: User, obj: Any) -> Found:
    names = isos_for(getattr(obj, "owner", viewer)).values_list("name", "title")[:MOST]
    return list(dict(names).items())


def _flavors(viewer: User, obj: Any) -> Found:
    return [(each.name, each.title) for each in list_flavors(viewer)[:MOST]]


def _networks(viewer: User, obj: Any) -> Found:
    return [(each.name, f"{each.name} ({each.subnet})" if each.subnet else each.name) for each in list_networks(viewer)]


def _pools(viewer: User, obj: Any) -> Found:
    return [(name, name) for name in Pool.objects.values_list("name", flat=True).order_by("name")[:MOST]]


def _owners(viewer: User, obj: Any) -> Found | None:
    if not permissions.allows(viewer, "users.view"):
        return None
    found = [(name, name) for name in list_users(viewer).order_by("name").values_list("name", flat=True)[: MOST + 1]]
    return found if len(found) <= MOST else None


def _disks(viewer: User, obj: Any) -> Found:
    return [(each.target, f"{each.target}, {mib(each.volume.size_gib * MIB_A_GIB)}") for each in obj.disks.all()]


def _interfaces(viewer: User, obj: Any) -> Found:
    return [(each.mac, f"{each.mac} ({each.network.name})") for each in obj.interfaces.all()]


def _groups(viewer: User, obj: Any) -> Found:
    owner = getattr(obj, "owner", viewer)
    return [(name, name) for name in owner.security_groups.order_by("name").values_list("name", flat=True)[:MOST]]


def _snapshots(viewer: User, obj: Any) -> Found:
    return [(str(each.pk), each.name) for each in obj.snapshots.all()]


def _orders(viewer: User, obj: Any) -> Found:
    own = "\n".join(getattr(obj, "boot_order", ()))
    return [(each, str(words.ORDERS.get(each, each))) for each in dict.fromkeys((*words.ORDERS, own)) if each]


def _kinds_of_network(viewer: User, obj: Any) -> Found:
    return [(each.name, wording.translated(each.label)) for each in KINDS.values()]


def _subnets(viewer: User, obj: Any) -> Found:
    return [(each.cidr, each.cidr) for each in obj.subnets.all()]


SOURCES: dict[str, Callable[[User, Any], Found | None]] = {
    "node": _nodes,
    "image": _images,
    "iso": _isos,
    "flavor": _flavors,
    "network": _networks,
    "pool": _pools,
    "owner": _owners,
    "boot_order": _orders,
    "security_groups": _groups,
}
OF_A_VM: dict[str, Callable[[User, Any], Found | None]] = {
    "disk": _disks,
    "groups": _groups,
    "interface": _interfaces,
    "snapshot": _snapshots,
}


OF_A_NETWORK: dict[str, Callable[[User, Any], Found | None]] = {"subnet": _subnets}
OF_A_NEW_NETWORK: dict[str, Callable[[User, Any], Found | None]] = {"kind": _kinds_of_network}


def _kinds_of_link(viewer: User, obj: Any) -> Found:
    return [("bond", gettext("Bond of network cards")), ("vlan", "VLAN")]


OF_A_NODE: dict[str, Callable[[User, Any], Found | None]] = {"kind": _kinds_of_link}


def of(operation: Declaration[Any], name: str, viewer: User, obj: Any) -> Found | None:
    """The choices for a parameter; None where it is typed."""
    more = {"vm": (OF_A_VM, {}), "node": (OF_A_NODE, {}), "network": (OF_A_NETWORK, OF_A_NEW_NETWORK)}
    of_object, of_new = more.get(operation.object_type, ({}, {}))
    sources = SOURCES | (of_object if obj is not None else of_new)
    source = sources.get(name)
    return source(viewer, obj) if source is not None else None
