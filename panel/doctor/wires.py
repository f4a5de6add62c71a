"""Whether a node has the networks' bridges and filters VMs' ports, as the database says, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from nodeagent.protocol.network import AntiSpoofingFilter, BridgeEnsure, BridgeState, PortState
from nodeagent.xml.describe import port_name
from panel.core.wording import Text
from panel.doctor.findings import Finding, finding
from panel.network.models import Network
from panel.vms import security
from panel.vms.models import Interface, Vm
from panel.vms.spec import interface_spec

AGAIN = "node.check"
"""What has networks' bridges made again, and ports filtered as the rows say."""


def bridges(
    node: str, networks: Iterable[tuple[Network, BridgeEnsure]], seen: Iterable[BridgeState]
) -> Iterator[Finding]:
    """The networks whose bridge is not there, or otherwise, and what is there of bridges of no network."""
    there = {each.name: each for each in seen}
    for network, wanted in networks:
        bridge, about = there.pop(network.bridge, None), f"network {network.pk}"
        if bridge is None or not bridge.exists:
            text = Text("{bridge} of {network} is not there.", {"bridge": network.bridge, "network": network.name})
            yield finding("bridge_missing", about, text, node, AGAIN)
        elif differences := sorted(_differences(network, wanted, bridge)):
            data = {"bridge": network.bridge, "network": network.name, "differences": ", ".join(differences)}
            text = Text("{bridge} of {network} is not as it should be: {differences}.", data)
            yield finding("bridge_differs", about, text, node, AGAIN)
    for name, bridge in sorted(there.items()):
        yield finding("bridge_foreign", f"bridge {name}", _of_no_network(bridge), node)


def _of_no_network(bridge: BridgeState) -> Text:
    if bridge.exists:
        return Text("The bridge of no network.")
    return Text("What is remembered of no network.") if bridge.remembered else Text("A bridge's rules of no network.")


def _differences(network: Network, wanted: BridgeEnsure, bridge: BridgeState) -> Iterator[str]:
    yield from bridge.lacks
    if not bridge.remembered:
        yield "not remembered"
        return
    for name in ("kind", "options", "gateway", "subnet", "further", "nat"):
        if getattr(bridge, name) != getattr(wanted, name):
            yield name
    # Which addresses these are changes with each node, and each node's next check says so to it.
    if (bridge.kept_from is None) != network.cluster.guests_reach_nodes:
        yield "what guests reach of nodes and panel"


def filters(
    node: str,
    vms: Mapping[str, Vm],
    domains: Collection[str],
    busy: Collection[str],
    seen: Iterable[AntiSpoofingFilter],
) -> Iterator[Finding]:
    """The ports of VMs (by UUID) that are not filtered as the rows say, and filters of what is no port of a VM.

    A VM that is none of the `domains` is filtered again with its domain.
    """
    there = {(each.vm, each.port): each for each in seen}
    for uuid, vm in vms.items():
        if uuid in busy or uuid not in domains or not vm.installed:
            there = {key: found for key, found in there.items() if key[0] != uuid}
            continue
        for interface in vm.interfaces.all():
            if not (interface.guarded and interface.attached):
                continue
            found, about = there.pop((uuid, port_name(interface.mac)), None), f"vm {vm.pk}"
            wanted = (interface.mac, sorted(interface.ips))
            if found is None or (found.mac, found.addresses) != wanted:
                yield finding("guard_missing", about, _filtered(interface, vm, found), node, AGAIN)
            elif not found.in_force:
                data = {"mac": interface.mac, "vm": vm.name}
                text = Text("The rules of {mac} of {vm} are not in the kernel as they should be.", data)
                yield finding("guard_missing", about, text, node, AGAIN)
    for uuid, port in sorted(there):
        if uuid not in busy:
            text = Text("It is filtered for nothing that is remembered.")
            if uuid:
                text = Text("It is filtered for domain {domain}.", {"domain": uuid})
            yield finding("guard_foreign", f"port {port}", text, node, "" if uuid else AGAIN)


def secured(
    node: str, vms: Mapping[str, Vm], domains: Collection[str], busy: Collection[str], seen: Iterable[PortState]
) -> Iterator[Finding]:
    """The VMs at whose ports other rules are in force than their security groups say."""
    there = security.by_vm(seen)
    for uuid, vm in vms.items():
        ports = there.get(uuid, [])
        specs = [interface_spec(each) for each in vm.interfaces.all() if each.attached]
        any_rules = any(each.security or each.forwards for each in (*specs, *(port.interface for port in ports)))
        if uuid not in busy and uuid in domains and vm.installed and any_rules and security.differs(specs, ports):
            text = Text("The rules of the security groups of {vm} are not in force.", {"vm": vm.name})
            yield finding("security_differs", f"vm {vm.pk}", text, node, AGAIN)


def _filtered(interface: Interface, vm: Vm, found: AntiSpoofingFilter | None) -> Text:
    """How a port is filtered that should be for the interface's MAC and addresses."""
    data = {"mac": interface.mac, "vm": vm.name, "addresses": ", ".join(interface.ips) or "–"}
    if found is None:
        return Text("{mac} of {vm} with the addresses {addresses} is not filtered at all.", data)
    data |= {"other_mac": found.mac, "others": ", ".join(found.addresses) or "–"}
    return Text("{mac} of {vm} with the addresses {addresses} is filtered for {other_mac} with {others}.", data)
