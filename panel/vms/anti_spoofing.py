"""Whether a node filters VMs' ports as the rows say, mended with every check of the node.

The node keeps a record of its own, which may be lost; the rows are what counts. VMs that a task holds are left
to it, and so is what is filtered of VMs that are elsewhere: they may be on their way.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Prefetch

from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.network import AntiSpoofingFilter, BridgeList, FiltersEnsure, VmFilters
from nodeagent.xml.describe import port_name
from panel.cluster.models import Node
from panel.tasks import locks
from panel.vms import security
from panel.vms.models import Interface, Vm
from panel.vms.spec import interface_spec

Ports = dict[str, tuple[str, list[str]]]
"""MAC and addresses of each filtered port, by its name."""


def mending(node: Node, said: BridgeList) -> tuple[FiltersEnsure, list[str]] | None:
    """What makes the node filter as the rows say, and the VMs whose ports were not; None: it does."""
    interfaces = {vm: _interfaces(vm) for vm in _settled(node)}
    seen, ports = said.guards, security.by_vm(said.ports)
    differing = [
        vm
        for vm, each in interfaces.items()
        if _differs(str(vm.uuid), each, seen) or security.differs(each, ports.get(str(vm.uuid), []))
    ]
    strays = _strays(seen, {name for each in interfaces.values() for name in _ports(each)})
    if not differing and not strays:
        return None
    guards = [VmFilters(str(vm.uuid), interfaces[vm]) for vm in differing]
    return FiltersEnsure(guards=guards, gone=strays), [vm.name for vm in differing]


def _settled(node: Node) -> list[Vm]:
    """The VMs of the node that no task holds."""
    interfaces = Prefetch(
        "interfaces",
        Interface.objects.select_related("network__cluster")
        .prefetch_related(security.GROUPS, "port_forwards")
        .with_ips(),
    )
    vms = list(Vm.objects.filter(node=node).prefetch_related(interfaces))
    held = locks.holders("vm", [vm.pk for vm in vms])
    return [vm for vm in vms if vm.pk not in held and vm.installed]


def _interfaces(vm: Vm) -> list[InterfaceSpec]:
    return [interface_spec(each) for each in vm.interfaces.all() if each.attached]


def _differs(uuid: str, interfaces: Iterable[InterfaceSpec], seen: Iterable[AntiSpoofingFilter]) -> bool:
    mine = [each for each in seen if each.vm == uuid]
    there = {each.port: (each.mac, each.addresses) for each in mine}
    return there != _ports(interfaces) or not all(each.in_force for each in mine)


def _ports(interfaces: Iterable[InterfaceSpec]) -> Ports:
    return {port_name(each.mac): (each.mac.lower(), sorted(each.addresses)) for each in interfaces if each.guarded}


def _strays(seen: Iterable[AntiSpoofingFilter], wanted: set[str]) -> list[str]:
    """The ports that only the kernel filters and that belong to no interface of any VM."""
    unknown = {each.port for each in seen if not each.vm} - wanted
    if not unknown:
        return []
    return sorted(unknown - {port_name(mac) for mac in Interface.objects.values_list("mac", flat=True)})
