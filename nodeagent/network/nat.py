"""The kind “nat”: a bridge whose guests have the node for their gateway, and leave it with the node's own address."""

from __future__ import annotations

import ipaddress
from typing import List, Sequence, Set, Tuple

from nodeagent import barriers, hostnet, nft
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.network.bridge import Bridged
from nodeagent.network.driver import register
from nodeagent.protocol import network
from nodeagent.run import run

TABLES = "vmpanel_"
"""What the names of bridges' tables begin with."""
REFUSED = "reject with icmpx admin-prohibited"
Subnet = Tuple[ipaddress.IPv4Interface, ipaddress.IPv4Network]
"""The gateway's address, and the range."""


@register
class Nat(Bridged):
    """A private network behind each node."""

    KIND = "nat"
    FORWARDS = True

    def refuse(self) -> None:
        """Its subnets are of IPv4, each with its gateway in it; it has no options."""
        self._subnets()
        if self.asked.options:
            raise InvalidParams("A network of this kind has no options.", field="options")
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
        """The bridge has its addresses and rules."""
        there = self.addresses(job)
        for gateway, _subnet in self._subnets():
            if str(gateway) not in there:
                run(["ip", "address", "replace", str(gateway), "dev", self.name], job)
        if rules := self._rules():
            run(["nft", "-f", "-"], job, stdin=rules)
        else:
            nft.drop("inet", self._table, job)

    def remove(self, job: Job) -> None:
        """Bridge and rules are gone."""
        super().remove(job)
        nft.drop("inet", self._table, job)

    def lacks(self, job: Job) -> List[str]:
        """What of bridge, addresses and rules is not in the kernel as it is remembered."""
        found, text = super().lacks(job), self._rules()
        if "bridge" not in found and {str(gateway) for gateway, _subnet in self._subnets()} - {*self.addresses(job)}:
            found.append("address")
        if nft.listed("inet", self._table, job) != (nft.meant(text, job) if text else {}):
            found.append("rules")
        return found

    def barriers(self, job: Job) -> List[str]:
        """The chains of the host's firewall that drop what its guests send."""
        return barriers.found(self.name, job)

    @classmethod
    def made(cls, job: Job) -> Set[str]:
        """The bridges with our mark, and those that a table of ours is for."""
        tables = [each[len(TABLES) :] for each in nft.tables("inet", job) if each.startswith(TABLES)]
        return super().made(job) | {each.replace("_", "-") for each in tables}

    @property
    def _table(self) -> str:
        return TABLES + self.name.replace("-", "_")

    def _rules(self) -> str:
        """The bridge's own nft table, replaced as a whole, of checked values; empty where it needs none."""
        name, table, chains = self.name, self._table, ""
        if self.asked.nat:
            lines = [f'ip saddr {subnet} oifname != "{name}" masquerade' for _gateway, subnet in self._subnets()]
            chains += _chain("postrouting", "nat hook postrouting priority srcnat", lines)
        if self.asked.kept_from is not None:
            gateways = [str(gateway.ip) for gateway, _subnet in self._subnets()]
            chains += _chain("input", "filter hook input priority filter", _of_the_node(name, gateways))
            chains += _chain("forward", "filter hook forward priority filter", _of_others(name, self.asked.kept_from))
        text = f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{chains}}}\n"
        return text if chains else ""


def _chain(name: str, base: str, lines: Sequence[str]) -> str:
    rules = "".join(f"  {line}\n" for line in lines)
    return f" chain {name} {{\n  type {base}; policy accept;\n{rules} }}\n"


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
