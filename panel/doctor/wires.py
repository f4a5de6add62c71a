"""Whether a node has the networks' bridges and filters VMs' ports, as the database says, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from nodeagent.protocol.network import AntiSpoofingFilter, BridgeEnsure, BridgeState
from nodeagent.xml.describe import port_name
from panel.doctor.findings import Finding
from panel.network.models import Network
from panel.vms.models import Vm

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
            yield Finding("bridge_missing", about, f"{network.bridge} of {network} is not there.", node, AGAIN)
        elif differences := sorted(_differences(network, wanted, bridge)):
            text = f"{network.bridge} of {network} is not as it should be: {', '.join(differences)}."
            yield Finding("bridge_differs", about, text, node, AGAIN)
    for name, bridge in sorted(there.items()):
        what = "The bridge" if bridge.exists else "A bridge's rules" if not bridge.remembered else "What is remembered"
        yield Finding("bridge_foreign", f"bridge {name}", f"{what} of no network.", node)


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
                having = f"for {found.mac} with {', '.join(found.addresses) or 'no address'}" if found else "not at all"
                text = f"{interface.mac} of {vm} with {', '.join(interface.ips) or 'no address'} is filtered {having}."
                yield Finding("guard_missing", about, text, node, AGAIN)
            elif not found.in_force:
                text = f"The rules of {interface.mac} of {vm} are not in the kernel as they should be."
                yield Finding("guard_missing", about, text, node, AGAIN)
    for uuid, port in sorted(there):
        if uuid not in busy:
            owner = f"domain {uuid}" if uuid else "nothing that is remembered"
            yield Finding("guard_foreign", f"port {port}", f"It is filtered for {owner}.", node, "" if uuid else AGAIN)
