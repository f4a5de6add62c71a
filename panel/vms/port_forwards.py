"""Ports of nodes that lead to VMs in networks with NAT: taking them, and who may have which.

A VM may come to any node, so a port is one VM's on all nodes of the cluster.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from panel.cluster.models import Cluster
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue, LimitExceeded, NotFound, WrongState
from panel.core.wording import Text
from panel.vms import devices
from panel.vms.models import Interface, PortForward, Vm


def interface_of(vm: Vm, mac: str | None) -> Interface:
    """The interface of this MAC address, or the first in a network with NAT; raises NotFound, WrongState."""
    if mac is not None:
        found = [devices.interface_of(vm, mac)]
    else:
        found = list(vm.interfaces.select_related("network").with_ips().order_by("position"))
    for each in found:
        if each.network.of_kind.translated and any("." in ip for ip in each.ips):
            return each
    text = Text("Ports of a node lead to VMs in networks with NAT alone: the VM has addresses of its own, or none.")
    raise WrongState(text, object="vm", id=vm.pk, state="without NAT", field="interface")


def refuse(interface: Interface, protocol: str, port: int | None, to_port: int, count: int) -> int:
    """The node's first port that would be taken.

    Raises InvalidValue for ports that nobody may have, AlreadyExists for what somebody has, LimitExceeded where the VM
    has as many as it may, CapacityError where none is free.
    """
    first, last = settings.CONFIG.port_forwards_first, settings.CONFIG.port_forwards_last
    used, most = PortForward.objects.filter(interface__vm=interface.vm_id).count(), settings.CONFIG.port_forwards_of_vm
    if used >= most:
        raise LimitExceeded(limit="port_forwards", used=used, allowed=most, field="port")
    if count > 1:
        port = to_port if port is None else port
        if port != to_port:
            raise InvalidValue("Several ports in a row lead to ports of the same numbers.", field="port")
    there = _taken(interface.vm.cluster, protocol)
    taken = {number for each in there for number in range(each.port, each.last_port + 1)}
    if port is None:
        port = next((each for each in range(first, last + 1) if each not in taken), None)
        if port is None:
            raise CapacityError("No port of the nodes is free.", field="port", candidates={})
    if not first <= port <= port + count - 1 <= last or to_port + count - 1 > 65535:
        text = Text("Ports of nodes that lead to VMs are from {first} to {last}.", {"first": first, "last": last})
        raise InvalidValue(text, field="port")
    if not taken.isdisjoint(range(port, port + count)):
        text = Text("The port {port} of the nodes leads to another VM already.", {"port": port})
        raise AlreadyExists(text, field="port", object="port")
    return port


def _taken(cluster: Cluster, protocol: str) -> QuerySet[PortForward]:
    return PortForward.objects.filter(interface__vm__cluster=cluster, protocol=protocol)


@transaction.atomic
def take(interface: Interface, protocol: str, port: int | None, to_port: int, count: int) -> PortForward:
    """The ports lead to the interface from now on; raises what refuse() does."""
    # Two that ask at once get other ports.
    Cluster.objects.select_for_update().only("pk").get(pk=interface.vm.cluster_id)
    found = refuse(interface, protocol, port, to_port, count)
    return PortForward.objects.create(
        interface=interface, protocol=protocol, port=found, last_port=found + count - 1, to_port=to_port
    )


def of(vm: Vm, protocol: str, port: int) -> QuerySet[PortForward]:
    """The VM's forwarding of that port, if there is one."""
    return PortForward.objects.filter(interface__vm=vm, protocol=protocol, port=port)


def get(vm: Vm, protocol: str, port: int) -> PortForward:
    """The same; raises NotFound."""
    if (found := of(vm, protocol, port).first()) is None:
        text = Text("The port {port} ({protocol}) does not lead to the VM.", {"port": port, "protocol": protocol})
        raise NotFound(text, object="port", id=port, field="port")
    return found
