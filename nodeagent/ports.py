"""What a node does for the ports of a VM's interfaces besides the domain: filters them, and routes their addresses.

Of each VM the node remembers its interfaces, so that the same is there again after its own restart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Sequence

from nodeagent import anti_spoofing, forwards, guest_routes, memory, network, paths, security_groups
from nodeagent.job import Job
from nodeagent.protocol import from_dict, to_dict
from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.network import BridgeEnsure, PortState
from nodeagent.xml.describe import port_name

Known = Dict[str, List[Dict[str, Any]]]
"""By VM, its interfaces."""


def have(uuid: str, interfaces: Sequence[InterfaceSpec], job: Job) -> None:
    """Of this VM exactly these interfaces' ports are filtered (those that want it), and their addresses routed.

    Raises InvalidParams before anything is changed.
    """
    ensure({uuid: interfaces}, [], job)


def ensure(vms: Mapping[str, Sequence[InterfaceSpec]], gone: Sequence[str], job: Job) -> None:
    """The same of several VMs; the ports `gone` are filtered no more."""
    security_groups.refuse(vms)
    forwards.refuse(vms)
    forwards.refuse_taken(memory.read(paths.PORTS), vms)
    anti_spoofing.ensure(vms, gone, job)
    _remember(vms, job)
    if not any(network.routes(each) for each in memory.read(paths.BRIDGES).values()):
        return
    with memory.changing(paths.BRIDGES) as remembered:
        routed = {name: each for name, each in remembered.items() if network.routes(each)}
        for name, (addresses, left) in guest_routes.change(vms, routed).items():
            network.of(from_dict(BridgeEnsure, routed[name])).route(addresses, left, job)


def update(vms: Mapping[str, Sequence[InterfaceSpec]], job: Job) -> None:
    """Of these VMs the ports that are remembered have this security and these forwards; all else of them stays."""
    security_groups.refuse(vms)
    forwards.refuse(vms)
    with memory.changing(paths.PORTS) as known:
        forwards.refuse_taken(known, vms)
        before, had = security_groups.wanted(known), dict(known)
        for uuid in vms.keys() & known.keys():
            given = {each.mac: each for each in vms[uuid]}
            said = []
            for each in (from_dict(InterfaceSpec, values) for values in known[uuid]):
                other = given.get(each.mac, each)
                said.append(replace(each, security=other.security, forwards=other.forwards))
            known[uuid] = _newest(known[uuid], said)
        security_groups.write(before, known, job)
        forwards.write(had, known, job)


def _remember(vms: Mapping[str, Sequence[InterfaceSpec]], job: Job) -> None:
    with memory.changing(paths.PORTS) as known:
        before, all_before = security_groups.wanted(known), dict(known)
        for uuid, interfaces in vms.items():
            had = known.pop(uuid, [])
            if interfaces:
                known[uuid] = _newest(had, interfaces)
        security_groups.write(before, known, job)
        forwards.write(all_before, known, job)


def _newest(had: List[Dict[str, Any]], interfaces: Sequence[InterfaceSpec]) -> List[Dict[str, Any]]:
    """The interfaces as they are remembered: rules that were read before those that are there do not replace them."""
    there = {each["mac"]: each.get("security") for each in had}
    found = []
    for each in interfaces:
        values, old = to_dict(each), there.get(each.mac)
        if old and each.security is not None and 0 < each.security.revision < old["revision"]:
            values["security"] = old
        found.append(values)
    return found


def restore(job: Job) -> None:
    """All that is remembered is in the kernel; called after the node's start."""
    anti_spoofing.restore(job)
    with memory.changing(paths.PORTS) as known:
        security_groups.write({}, known, job)
        forwards.write({}, known, job)


def read(job: Job) -> List[PortState]:
    """Every port that is remembered."""
    with memory.changing(paths.PORTS) as known:
        unheeded = security_groups.unheeded(known, job)
        led = forwards.in_force(known, job)
        found = [(uuid, from_dict(InterfaceSpec, each)) for uuid, there in sorted(known.items()) for each in there]
    return [
        PortState(uuid, each, port_name(each.mac) not in unheeded and (led or not each.forwards))
        for uuid, each in found
    ]
