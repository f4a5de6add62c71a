"""The kind “routed”: guests have addresses of their own that the node routes to its bridge, one by one.

As at providers that route addresses to a host: guests have each address alone (/32, /128) and a gateway that lies
outside of it, which every node has. With the option `proxy` the node answers for its guests' addresses towards the
uplink (proxy ARP and NDP), where those are of the uplink's own network. Which guests a node has, ports.py says.
"""

from __future__ import annotations

import ipaddress
from typing import Dict, List, Sequence, Set

from nodeagent import announcing, barriers, guest_routes, hostnet, kernel_settings
from nodeagent.errors import CommandFailed, InvalidParams, NoSuchInterface
from nodeagent.job import Job
from nodeagent.network.bridge import INTERFACE, UPLINK
from nodeagent.network.bridged import Bridged
from nodeagent.network.driver import register
from nodeagent.run import run

PROXY = "proxy"
PROTOCOL = "118"
"""What marks our routes in the kernel: a number of nobody else's (/etc/iproute2/rt_protos)."""
FORWARDING6 = "ipv6/conf/all/forwarding"


@register
class Routed(Bridged):
    """A network whose addresses are routed to the node."""

    KIND = "routed"
    FORWARDS = True
    ROUTES = True

    @property
    def needs(self) -> str:
        """Where the node answers for its guests."""
        return self.asked.options.get(UPLINK, "")

    @property
    def _proxies(self) -> bool:
        return self.asked.options.get(PROXY) == "on"

    def refuse(self) -> None:
        """Its subnets are of any version, each with a gateway; to answer for guests, it must have an uplink."""
        self.refuse_options(UPLINK, PROXY)
        if self.asked.options.get(PROXY, "off") not in ("on", "off"):
            raise InvalidParams("It is “on” or “off”.", field=PROXY)
        if self.needs and not INTERFACE.match(self.needs):
            raise InvalidParams("This is no name of an interface.", field=UPLINK)
        if self._proxies and not self.needs:
            raise InvalidParams("No uplink of this node is said, on which it would answer for guests.", field=UPLINK)
        try:
            for each in self.asked.every_subnet():
                subnet, gateway = ipaddress.ip_network(each.subnet), ipaddress.ip_interface(each.gateway)
                if subnet.version != gateway.version:
                    raise InvalidParams("The gateway is of another version than its subnet.", field="gateway")
        except ValueError as error:
            raise InvalidParams(f"This is not a network with its gateway: {error}.", field="subnet") from error

    def _gateways(self) -> List[str]:
        return sorted({each.gateway for each in self.asked.every_subnet()})

    @property
    def _has_six(self) -> bool:
        return any(":" in each for each in self._gateways())

    def stands(self, job: Job) -> bool:
        """Whether the bridge is there."""
        return self.exists(job)

    def make(self, job: Job) -> None:
        """Bridge, gateways, and the routes of all guests."""
        if self.needs and self.needs not in hostnet.links(job):
            raise NoSuchInterface(f"The host has no interface “{self.needs}”.", name=self.needs)
        super().make(job)
        if self._has_six:
            self._forward_six(job)
        self.route(guest_routes.of(self.name), [], job)

    def furnish(self, job: Job) -> None:
        """The bridge has the gateways; it tells no guest of nearer ways, and believes no router."""
        hostnet.sysctl(f"ipv6/conf/{self.name}/accept_ra", "0")
        hostnet.sysctl(f"ipv4/conf/{self.name}/send_redirects", "0")
        for each in self._lacking_gateways(job):
            run(["ip", "address", "replace", each, "dev", self.name, *(["nodad"] if ":" in each else [])], job)

    def _lacking_gateways(self, job: Job) -> List[str]:
        there = self.addresses(job)
        return [each for each in self._gateways() if each not in there]

    def _forward_six(self, job: Job) -> None:
        # A host that forwards believes no router any more, and would lose its own way out.
        ways = {each.get("dev", "") for each in hostnet.ip(["-6", "route", "show", "proto", "ra"], job)}
        for name in sorted(ways - {"", self.name}):
            if hostnet.sysctl(f"ipv6/conf/{name}/accept_ra") == "1":
                kernel_settings.have(f"ipv6/conf/{name}/accept_ra", "2", self.name)
        kernel_settings.have(FORWARDING6, "1", self.name)
        if self._proxies:
            kernel_settings.have(f"ipv6/conf/{self.needs}/proxy_ndp", "1", self.name)

    def route(self, addresses: Sequence[str], left: Sequence[str], job: Job) -> None:
        """Guests with exactly these addresses are reached by the bridge; `left` are those that had been."""
        wanted, there = {_whole(each) for each in addresses}, self._routed(job)
        lines = [f"route replace {each} dev {self.name} proto {PROTOCOL}" for each in sorted(wanted)]
        lines += [f"route delete {each} dev {self.name} proto {PROTOCOL}" for each in sorted(there - wanted)]
        proxied = self._proxied(job) if self._proxies else set()
        if self._proxies:
            lines += [f"neighbour replace proxy {each} dev {self.needs}" for each in addresses]
            lines += [f"neighbour delete proxy {each} dev {self.needs}" for each in left if each in proxied]
        if lines:
            run(["ip", "-batch", "-"], job, stdin="\n".join(lines) + "\n")
        # Neighbours remember the node that a guest came from.
        for each in sorted({*addresses} - proxied) if self._proxies else []:
            announcing.announce(self.needs, each, job)

    def _routed(self, job: Job) -> Set[str]:
        argv = ["route", "show", "dev", self.name, "proto", PROTOCOL]
        return {_whole(each["dst"]) for family in ("-4", "-6") for each in hostnet.ip([family, *argv], job)}

    def _proxied(self, job: Job) -> Set[str]:
        argv = ["neighbour", "show", "proxy", "dev", self.needs]
        try:
            return {each["dst"] for family in ("-4", "-6") for each in hostnet.ip([family, *argv], job)}
        except CommandFailed:
            # The interface is gone.
            return set()

    def lacks(self, job: Job) -> List[str]:
        """Also gateways, routes and what it answers for."""
        found, guests = super().lacks(job), guest_routes.of(self.name)
        if "bridge" not in found:
            found += ["address"] if self._lacking_gateways(job) else []
            found += ["routes"] if self._routed(job) != {_whole(each) for each in guests} else []
        if self._proxies and not {*guests} <= self._proxied(job):
            found.append("proxies")
        if self._has_six and hostnet.sysctl(FORWARDING6) not in ("", "1"):
            found.append("forwarding of IPv6")
        return found

    def barriers(self, job: Job) -> List[str]:
        """The chains of the host's firewall that drop what its guests send."""
        return barriers.found(self.name, job)

    def remove(self, job: Job) -> None:
        """The bridge and its routes are gone, and the kernel's settings as they were."""
        if self._proxies:
            for each in sorted(self._proxied(job).intersection(guest_routes.of(self.name))):
                run(["ip", "neighbour", "delete", "proxy", each, "dev", self.needs], job, check=False)
        super().remove(job)
        kernel_settings.give_back(self.name)

    def rules(self) -> Dict[str, str]:
        """None."""
        return {}


def _whole(address: str) -> str:
    """The address as a route's destination."""
    return str(ipaddress.ip_network(address))
