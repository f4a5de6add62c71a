"""The kind “nat”: a bridge whose guests have the node for their gateway, and leave it with the node's own address."""

from __future__ import annotations

import ipaddress
from typing import Dict, List, Sequence, Tuple

from nodeagent import barriers, hostnet
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.network.bridged import Bridged, chain
from nodeagent.network.driver import register
from nodeagent.protocol import network
from nodeagent.run import run

REFUSED = "reject with icmpx admin-prohibited"
Subnet = Tuple[ipaddress.IPv4Interface, ipaddress.IPv4Network]
"""The gateway's address, and the range."""


@register
class Nat(Bridged):
    """A private network behind each node."""

    KIND = "nat"
    FORWARDS = True
    ALONE = True
    FAMILIES = ("inet",)

    def refuse(self) -> None:
        """Its subnets are of IPv4, each with its gateway in it; it has no options."""
        self._subnets()
        self.refuse_options()
        try:
            for each in self.asked.kept_from or ():
                ipaddress.ip_address(each)
        except ValueError as error:
            raise InvalidParams(f"This is not an address: {error}.", field="kept_from") from error

    def _subnets(self) -> List[Subnet]:
        found = []
        try:
            for each in self.asked.every_subnet() or [network.Subnet(self.asked.subnet)]:
                found.append((ipaddress.IPv4Interface(each.gateway), ipaddress.IPv4Network(each.subnet)))
        except ValueError as error:
            raise InvalidParams(f"This is not a network: {error}.", field="subnet") from error
        if any(gateway.ip not in subnet for gateway, subnet in found):
            raise InvalidParams("The gateway does not lie in the subnet.", field="gateway")
        return found

    def overlaps(self, job: Job) -> List[str]:
        """Addresses and routes of the host's in its subnets."""
        found = [each for _gateway, subnet in self._subnets() for each in hostnet.overlaps(subnet, self.name, job)]
        return list(dict.fromkeys(found))

    def stands(self, job: Job) -> bool:
        """Whether the bridge has its address."""
        return self.exists(job) and str(self._subnets()[0][0]) in self.addresses(job)

    def furnish(self, job: Job) -> None:
        """The bridge has its addresses."""
        there = self.addresses(job)
        for gateway, _subnet in self._subnets():
            if str(gateway) not in there:
                run(["ip", "address", "replace", str(gateway), "dev", self.name], job)

    def shed(self, before: network.BridgeEnsure, job: Job) -> None:
        """Gateways that it had and has no more. Other addresses of the bridge are somebody's who added them by hand."""
        mine = {str(gateway) for gateway, _subnet in self._subnets()}
        had = {each.gateway for each in before.every_subnet()} - mine
        for gateway in sorted(had.intersection(self.addresses(job))):
            run(["ip", "address", "delete", gateway, "dev", self.name], job)

    def lacks(self, job: Job) -> List[str]:
        """What of bridge, addresses and rules is not in the kernel as it is remembered."""
        found = super().lacks(job)
        if "bridge" not in found and {str(gateway) for gateway, _subnet in self._subnets()} - {*self.addresses(job)}:
            found.append("address")
        return found

    def barriers(self, job: Job) -> List[str]:
        """The chains of the host's firewall that drop what its guests send."""
        return barriers.found(self.name, job)

    def rules(self) -> Dict[str, str]:
        """What masquerades, and what keeps guests from nodes and panel."""
        name, chains = self.name, ""
        if self.asked.nat:
            lines = [f'ip saddr {subnet} oifname != "{name}" masquerade' for _gateway, subnet in self._subnets()]
            chains += chain("postrouting", "nat hook postrouting priority srcnat", lines)
        if self.asked.kept_from is not None:
            gateways = [str(gateway.ip) for gateway, _subnet in self._subnets()]
            chains += chain("input", "filter hook input priority filter", _of_the_node(name, gateways))
            chains += chain("forward", "filter hook forward priority filter", _of_others(name, self.asked.kept_from))
        return {"inet": chains}


def _of_the_node(name: str, gateways: Sequence[str]) -> List[str]:
    """What guests may begin with the node itself. What it began with them goes on."""
    asked = ("udp dport 53", "tcp dport 53", "icmp type echo-request")
    return [
        f'iifname != "{name}" accept',
        "ct state { established, related } accept",
        "udp dport 67 accept",
        *[f"ip daddr {gateway} {each} accept" for gateway in gateways for each in asked],
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
        REFUSED,
    ]


def _of_others(name: str, addresses: Sequence[str]) -> List[str]:
    parsed = sorted({ipaddress.ip_address(each) for each in addresses}, key=lambda each: (each.version, int(each)))
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        if of_version := [str(each) for each in parsed if each.version == version]:
            listed = ", ".join(of_version)
            begun = "ct state != { established, related }"
            found.append(f'iifname "{name}" {begun} {family} daddr {{ {listed} }} {REFUSED}')
    return found
