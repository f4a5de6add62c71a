"""Requests about the bridges of networks, the host's own networks, and anti-spoofing filters of ports.

A network has a kind and that kind's options; what a node makes of it beside the bridge, the kind's driver alone knows
(nodeagent/network).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional

from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.wire import Nothing, Request, command

NAT = "nat"
"""The kind of network whose guests leave the node with its address."""


@dataclass(frozen=True)
class Subnet:
    """A range of addresses of either version ("10.77.0.0/24"), and the node's own in it ("10.77.0.1/24", or none)."""

    subnet: str
    gateway: str = ""


@dataclass(frozen=True)
class BridgeState:
    """A bridge of the node; `ports` are the interfaces joined to it.

    `gateway`, `subnet`, `nat`, `kind`, `options` and `further` are what the node remembers of it. One that it does not
    remember is told of while the bridge or its rules are there. `lacks` are words for what is not there as it is
    remembered: "bridge", "up", "address", "rules", "forwarding", or what else the kind makes. `overlaps` are sentences
    about what of the host's own has come to lie in its subnets. `barriers` are chains of the host's own that drop
    what its guests send out. `kept_from` is BridgeEnsure's. Other than 0, `confirm_within` is the
    seconds in which BridgeConfirm must be asked for, else the network is gone again.
    """

    name: str
    exists: bool
    ports: List[str]
    gateway: str = ""
    subnet: str = ""
    nat: bool = False
    remembered: bool = True
    lacks: List[str] = field(default_factory=list)
    overlaps: List[str] = field(default_factory=list)
    barriers: List[str] = field(default_factory=list)
    kept_from: Optional[List[str]] = None
    kind: str = NAT
    options: Dict[str, str] = field(default_factory=dict)
    further: List[Subnet] = field(default_factory=list)
    confirm_within: float = 0.0


@dataclass(frozen=True)
class AntiSpoofingFilter:
    """The anti-spoofing filter of a guest's port: of which VM it is (a UUID), and what it lets through as remembered.

    `in_force`: the kernel has exactly these rules. `vm` is empty where the kernel filters a port of which
    nothing is remembered.
    """

    port: str
    vm: str = ""
    mac: str = ""
    addresses: List[str] = field(default_factory=list)
    in_force: bool = True


@dataclass(frozen=True)
class PortState:
    """An interface of a VM (a UUID) as the node remembers it; `in_force`: the kernel has the rules of its security."""

    vm: str
    interface: InterfaceSpec
    in_force: bool = True


@command
class BridgeEnsure(Request[BridgeState]):
    """Have the bridge of a network of this kind; of “nat” with its gateways' addresses, forwarding and masquerading.

    `gateway` and `subnet` are those of its first subnet in CIDR form ("10.77.0.1/24", "10.77.0.0/24"), empty where it
    has none, `further` its others. `options` are the kind's. The node remembers the bridge and makes it again after a
    restart, and what forwarding was before the first one.

    With `kept_from` guests begin nothing with the node itself but DHCP, and DNS and ping at their gateway, nor with
    any of these addresses; what is begun with them, and its answers, pass. None: they reach all.

    A network that takes in an interface by which the host may be reached is there on trial: unless it is confirmed by
    BridgeConfirm within `trial_seconds`, the host has all as it was, whatever became of the agent. With 0 it is there
    for good.

    Refused with `exists`, nothing being changed, where the host has an interface of this name that the panel
    did not make, or an address or route of its own in the subnet.
    """

    COMMAND = "bridge_ensure"
    RESULT = BridgeState
    name: str
    gateway: str = ""
    subnet: str = ""
    nat: bool = True
    kept_from: Optional[List[str]] = None
    kind: str = NAT
    options: Dict[str, str] = field(default_factory=dict)
    further: List[Subnet] = field(default_factory=list)
    trial_seconds: float = 0.0

    def every_subnet(self) -> List[Subnet]:
        """All its subnets."""
        return [*([Subnet(self.subnet, self.gateway)] if self.subnet else []), *self.further]


@command
class BridgeConfirm(Request[Nothing]):
    """What a network took in of the host stays: the panel has reached the host since, over a new connection.

    Not on trial is success. `undone` where it was given back already, and for the agent that took it.
    """

    COMMAND = "bridge_confirm"
    RESULT = Nothing
    name: str


@command
class BridgeRemove(Request[Nothing]):
    """Remove the bridge and what its kind made with it; absent is success, `in_use` while guests are joined to it.

    One that the panel did not make is left alone. With the last one forwarding is again as it was.
    """

    COMMAND = "bridge_remove"
    RESULT = Nothing
    name: str


@dataclass(frozen=True)
class BridgeList:
    """The bridges that the panel made on this node, the anti-spoofing filters of guests' ports, and the ports."""

    bridges: List[BridgeState]
    guards: List[AntiSpoofingFilter]
    ports: List[PortState] = field(default_factory=list)


@command
class BridgesRead(Request[BridgeList]):
    """List the bridges that the panel made on this node, and the filters of ports, remembered and in the kernel."""

    COMMAND = "bridges_read"
    RESULT = BridgeList
    MUTATES = False


@dataclass(frozen=True)
class VmFilters:
    """The interfaces of a VM (by its UUID); those that want it are filtered."""

    vm: str
    interfaces: List[InterfaceSpec]


@command
class FiltersEnsure(Request[Nothing]):
    """Of each of these VMs filter and remember exactly these interfaces' ports; `gone` are filtered no more.

    All other anti-spoofing filters stay as they are.
    """

    COMMAND = "guards_ensure"
    RESULT = Nothing
    guards: List[VmFilters]
    gone: List[str] = field(default_factory=list)


@command
class SecurityUpdate(Request[Nothing]):
    """Those of the VMs' ports that the node remembers have this security and forwards; others stay unknown.

    `exists` where a port of the node is another guest's, or a program of the host listens on it; likewise host_create.
    """

    COMMAND = "security_update"
    RESULT = Nothing
    vms: List[VmFilters]


@dataclass(frozen=True)
class HostNetwork:
    """An address range that the host uses itself, in CIDR form, and `how` ("the address 10.1.2.3/24 of eth0")."""

    network: str
    how: str


@dataclass(frozen=True)
class HostNetworks:
    """What the host has of networks without the panel: address ranges, and the names of interfaces."""

    networks: List[HostNetwork]
    links: List[str]


@command
class NetworksRead(Request[HostNetworks]):
    """List the host's own interfaces, addresses and routes, but for a default route and what the panel made."""

    COMMAND = "networks_read"
    RESULT = HostNetworks
    MUTATES = False
