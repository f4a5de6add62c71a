"""What a form of an operation shows to begin with, and which parameters it has for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from panel.accounts.models import SshKey, User
from panel.core import permissions
from panel.dns.selectors import names_of
from panel.network.models import Network
from panel.tasks.declaration import Declaration
from panel.vms.machine import settings_of
from panel.vms.models import Vm
from panel.vms.settings import NEED_A_RIGHT

DISK = ("bus", "cache", "read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")
OPERATORS = frozenset({*DISK[2:], "guarded", "mac", "inbound_kibps", "outbound_kibps"})
"""Parameters that limit and filter a customer, who cannot set them."""
CLUSTER = frozenset({"node"})
"""Parameters of those who see the cluster."""
MOST_KEYS = 20
Fixed = Mapping[str, Any]


def may_set(operation: Declaration[Any], viewer: User, name: str) -> bool:
    """Whether a form has the parameter for the viewer; what a form hides is refused or left to the operation."""
    if name in CLUSTER and "node" not in operation.object_type:
        return permissions.allows(viewer, "cluster.view") or operation.params.model_fields[name].is_required()
    if name == "owner" and operation.creates:
        return permissions.allows(viewer, "users.view")
    if name in NEED_A_RIGHT:
        return permissions.allows(viewer, "vms.configure")
    return name not in OPERATORS or permissions.allows(viewer, "cluster.manage")


def _disk(viewer: User, vm: Vm, fixed: Fixed) -> dict[str, Any]:
    disk = vm.disks.select_related("volume").filter(target=fixed.get("disk", "")).first()
    if disk is None:
        return {}
    return {"size_gib": disk.volume.size_gib, **{name: getattr(disk, name) for name in DISK}}


def _interface(viewer: User, vm: Vm, fixed: Fixed) -> dict[str, Any]:
    interface = vm.interfaces.select_related("network").filter(mac=fixed.get("interface", "")).first()
    if interface is None:
        return {}
    return {
        "network": interface.network.name,
        "guarded": "yes" if interface.guarded else "no",
        "inbound_kibps": interface.inbound_kibps,
        "outbound_kibps": interface.outbound_kibps,
    }


def _groups(viewer: User, vm: Vm, fixed: Fixed) -> dict[str, Any]:
    interface = vm.interfaces.filter(mac=fixed.get("interface", "")).first()
    return {} if interface is None else {"groups": [each.name for each in interface.security_groups.all()]}


def _settings(viewer: User, vm: Vm, fixed: Fixed) -> dict[str, Any]:
    first = vm.interfaces.order_by("position").first()
    speeds = {name: getattr(first, name) for name in ("inbound_kibps", "outbound_kibps")} if first is not None else {}
    return {**settings_of(vm), "boot_order": "\n".join(vm.boot_order), **speeds}


def _keys(viewer: User, vm: Vm | None, fixed: Fixed) -> dict[str, Any]:
    keys = SshKey.objects.filter(user=viewer).order_by("name").values_list("public_key", flat=True)[:MOST_KEYS]
    return {"ssh_keys": list(keys)}


def _subnet(viewer: User, network: Network, fixed: Fixed) -> dict[str, Any]:
    subnet = network.subnets.prefetch_related("ranges").filter(cidr=fixed.get("subnet", "")).first()
    if subnet is None:
        return {}
    ranges = [f"{each.first}-{each.last}" for each in subnet.ranges.all()]
    excluded = [f"{each.first}-{each.last}" for each in subnet.excluded.all()]
    more = {"ranges": ranges, "excluded": excluded}
    return {"gateway": subnet.gateway or "", "nameservers": subnet.nameservers, **more}


def _range(viewer: User, network: Network, fixed: Fixed) -> dict[str, Any]:
    pool = next((each for each in network.ranges if str(each) == fixed.get("range")), None)
    if pool is None:
        return {}
    owner, node = pool.owner, pool.node
    said = {"owner": owner.name if owner else "", "node": node.name if node else "", "flavor": pool.flavor}
    return {"purpose": pool.purpose, "choice": pool.choice, **said}


def _address(viewer: User, network: Network, fixed: Fixed) -> dict[str, Any]:
    address = network.addresses.filter(ip=fixed.get("address", "")).select_related("owner").first()
    if address is None:
        return {}
    return {"comment": address.comment} | ({"owner": address.owner.name} if address.owner is not None else {})


def _reverse_name(viewer: User, vm: Vm, fixed: Fixed) -> dict[str, Any]:
    found = names_of(vm).get(str(fixed.get("address", "")))
    return {"name": found["name"] if found is not None and found["given"] else ""}


PRESENT: dict[str, Callable[[User, Any, Fixed], dict[str, Any]]] = {
    "network.change-range": _range,
    "network.change-address": _address,
    "vm.change-disk": _disk,
    "vm.grow-disk": _disk,
    "vm.change-interface": _interface,
    "vm.configure": _settings,
    "vm.set-security-groups": _groups,
    "vm.rename": lambda viewer, vm, fixed: {"name": vm.name},
    "vm.set-reverse-name": _reverse_name,
    "vm.change-owner": lambda viewer, vm, fixed: {"owner": vm.owner.name},
    "vm.create": _keys,
    "vm.clone": _keys,
    "vm.reinstall": lambda viewer, vm, fixed: {
        **_keys(viewer, vm, fixed),
        "image": vm.image.name if vm.image is not None else None,
    },
    "vm.rescue": _keys,
    "network.change-subnet": _subnet,
}
"""What is there already, of operations that change it."""


def of(operation: Declaration[Any], viewer: User, obj: Any, fixed: Fixed) -> dict[str, Any]:
    """The values that the form shows to begin with; those that the button's place settles before all others."""
    present = PRESENT.get(operation.name)
    found = present(viewer, obj, fixed) if present is not None else {}
    if obj is not None:
        found |= operation.initial(obj)
    return {**found, **fixed}
