"""What a node does for the ports of a VM's interfaces besides the domain: filters them, and routes their addresses."""

from __future__ import annotations

from typing import Mapping, Sequence

from nodeagent import anti_spoofing, guest_routes, memory, network, paths
from nodeagent.job import Job
from nodeagent.protocol import from_dict
from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.network import BridgeEnsure


def have(uuid: str, interfaces: Sequence[InterfaceSpec], job: Job) -> None:
    """Of this VM exactly these interfaces' ports are filtered (those that want it), and their addresses routed.

    Raises InvalidParams before anything is changed.
    """
    ensure({uuid: interfaces}, [], job)


def ensure(vms: Mapping[str, Sequence[InterfaceSpec]], gone: Sequence[str], job: Job) -> None:
    """The same of several VMs; the ports `gone` are filtered no more."""
    anti_spoofing.ensure(vms, gone, job)
    if not any(network.routes(each) for each in memory.read(paths.BRIDGES).values()):
        return
    with memory.changing(paths.BRIDGES) as remembered:
        routed = {name: each for name, each in remembered.items() if network.routes(each)}
        for name, (addresses, left) in guest_routes.change(vms, routed).items():
            network.of(from_dict(BridgeEnsure, routed[name])).route(addresses, left, job)
