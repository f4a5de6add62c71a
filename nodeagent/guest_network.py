"""What a guest reads of its network: netplan's format, which cloud-init takes too, and files of systemd-networkd.

Each interface is known by its MAC address. The default route of a version of IP is that of the first interface with a
gateway of it. A gateway that lies in no network of its interface (as at providers that route addresses to a host) is
reached by a route of its own.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Set

from nodeagent.protocol.identity import GuestAddress, GuestInterface

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Gateway:
    """The gateway of a default route; `outside`: no network of the interface's addresses has it."""

    address: str
    outside: bool

    @property
    def version(self) -> int:
        """Its version of IP."""
        return ipaddress.ip_address(self.address).version

    @property
    def alone(self) -> str:
        """The range of it alone."""
        return f"{self.address}/{32 if self.version == 4 else 128}"


def gateways(interfaces: Sequence[GuestInterface]) -> List[List[Gateway]]:
    """Of each interface those that are its guest's default routes, of one version at most one."""
    routed: Set[int] = set()
    found = []
    for interface in interfaces:
        mine: List[Gateway] = []
        for each in interface.addresses:
            if each.gateway and (version := ipaddress.ip_address(each.gateway).version) not in routed:
                routed.add(version)
                mine.append(Gateway(each.gateway, _is_outside(each.gateway, interface)))
        found.append(mine)
    return found


def _is_outside(gateway: str, interface: GuestInterface) -> bool:
    address = ipaddress.ip_address(gateway)
    if address.version == 6 and address.is_link_local:
        # Every interface has that network.
        return False
    near = (ipaddress.ip_network(f"{each.address}/{each.prefix}", strict=False) for each in interface.addresses)
    return not any(address in network for network in near)


def netplan(interfaces: Sequence[GuestInterface]) -> Dict[str, Any]:
    """The network as netplan and cloud-init's version 2 have it."""
    found = {}
    for number, (interface, mine) in enumerate(zip(interfaces, gateways(interfaces))):
        values: Dict[str, Any] = {
            "match": {"macaddress": interface.mac},
            "addresses": [f"{each.address}/{each.prefix}" for each in interface.addresses],
        }
        if interface.mtu:
            values["mtu"] = interface.mtu
        for gateway in mine:
            if gateway.outside:
                values.setdefault("routes", []).extend(_on_link(gateway))
            else:
                values[f"gateway{gateway.version}"] = gateway.address
        if interface.nameservers:
            values["nameservers"] = {"addresses": list(interface.nameservers)}
        found[f"vmpanel{number}"] = values
    return {"version": 2, "ethernets": found}


def _on_link(gateway: Gateway) -> List[Dict[str, Any]]:
    # The first route alone does for cloud-init's renderers that know no “on-link” (networkd's before 24.1).
    return [
        {"to": gateway.alone, "scope": "link"},
        {"to": EVERYWHERE[gateway.version], "via": gateway.address, "on-link": True},
    ]


def networkd(interfaces: Sequence[GuestInterface]) -> List[str]:
    """A file of systemd-networkd for each interface."""
    return [_networkd(interface, mine) for interface, mine in zip(interfaces, gateways(interfaces))]


def _networkd(interface: GuestInterface, mine: Sequence[Gateway]) -> str:
    match = f"[Match]\nMACAddress={interface.mac}\n"
    link = f"\n[Link]\nMTUBytes={interface.mtu}\n" if interface.mtu else ""
    lines = [f"Address={each.address}/{each.prefix}" for each in interface.addresses]
    lines += [f"DNS={server}" for server in interface.nameservers]
    network = "\n[Network]\n" + "".join(f"{line}\n" for line in lines)
    routes = "".join(
        f"\n[Route]\nGateway={each.address}\n" + ("GatewayOnLink=yes\n" if each.outside else "") for each in mine
    )
    return match + link + network + routes


def ip_commands(
    interfaces: Sequence[GuestInterface], mac: str, name: str, gone: Sequence[GuestAddress]
) -> List[List[str]]:
    """What iproute2 does in a running guest so that its interface has its addresses, and those that are `gone` no more.

    `name` is what the guest calls the interface, and `gone` what it has there of them. Each may be repeated. A default
    route through a gateway that lies outside goes with the address that it was made for, so it is set again.
    """
    found = next(
        ((each, mine) for each, mine in zip(interfaces, gateways(interfaces)) if each.mac.lower() == mac.lower()), None
    )
    interface, mine = found or (GuestInterface(mac, []), [])
    # Again after the removal: Linux takes the others of a network away with its first one.
    kept = [["address", "replace", f"{each.address}/{each.prefix}", "dev", name] for each in interface.addresses]
    removed = [["address", "delete", f"{each.address}/{each.prefix}", "dev", name] for each in gone]
    routes = []
    for each in mine:
        family = f"-{each.version}"
        if each.outside:
            routes.append([family, "route", "replace", each.alone, "dev", name, "scope", "link"])
        routes.append([family, "route", "replace", "default", "via", each.address, "dev", name])
    return [*kept, *removed, *(kept if removed else []), *routes]
