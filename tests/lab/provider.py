"""The lab's provider network: a router, two Ethernet segments that nodes are plugged into, and a host beyond it.

As a hosting company's: the first segment is the nodes' own network (their way out), the second one where a bridge of
the host's own is. All of it is in network namespaces of its own, so that its addresses meet nobody else's. The
segments are Linux bridges, which pass frames with VLAN tags on to everybody, as a trunk does.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.hosts import Lab, LabError, Node, run

OUTSIDE = ("198.51.100.2", "2001:db8:51::2")
"""The addresses of the host beyond the router."""
BEYOND = (ipaddress.ip_interface("198.51.100.1/24"), ipaddress.ip_interface("2001:db8:51::1/64"))
"""The router's there."""


@dataclass(frozen=True)
class Segment:
    """An Ethernet of the provider's: by what interface nodes are in it, and its networks with the router's address."""

    name: str
    interface: str
    gateways: tuple[str, str]

    def of_node(self, node: Node) -> list[str]:
        """The addresses of a node in it, with their prefixes."""
        found = [ipaddress.ip_interface(each) for each in self.gateways]
        return [f"{each.ip + 10 + node.number}/{each.network.prefixlen}" for each in found]


OWN = Segment("seg1", "eth1", ("203.0.113.1/24", "2001:db8:113::1/64"))
SECOND = Segment("seg2", "eth2", ("192.0.2.1/24", "2001:db8:2::1/64"))
BRIDGE = "br0"
"""The bridge that a node's own configuration has in the second segment."""


class Provider:
    """The network. plug() gives it to nodes, for each of their starts too; close() removes all of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.router, self.outside = (f"vmpanel-lab-{lab.id}-{each}" for each in ("router", "outside"))
        self.nodes: list[Node] = []

    def make(self) -> None:
        """The router forwards between its segments and the host outside."""
        for each in (self.router, self.outside):
            run("ip", "netns", "add", each)
            self._ip(each, "link", "set", "lo", "up")
        for name in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.rp_filter=0"):
            run("ip", "netns", "exec", self.router, "sysctl", "-qw", f"net.{name}")
        peer = ("type", "veth", "peer", "name", "eth0", "netns", self.outside)
        self._ip(self.router, "link", "add", "beyond", *peer)
        self._up(self.router, "beyond", map(str, BEYOND))
        self._up(self.outside, "eth0", [f"{OUTSIDE[0]}/24", f"{OUTSIDE[1]}/64"])
        for gateway in BEYOND:
            self._ip(self.outside, "route", "add", "default", "via", str(gateway.ip))
        for segment in (OWN, SECOND):
            self._ip(self.router, "link", "add", segment.name, "type", "bridge", "forward_delay", "0")
            self._up(self.router, segment.name, segment.gateways)

    def plug(self, node: Node) -> None:
        """The node is in both segments, and its way out is the provider's router."""
        self.nodes.append(node)
        node.at_boot.append(self._at_boot)
        self._at_boot(node)

    def _at_boot(self, node: Node) -> None:
        for segment in (OWN, SECOND):
            near = f"n{node.number}{segment.interface}"
            run("ip", "-n", self.router, "link", "delete", near, check=False)
            peer = ("peer", "name", segment.interface, "address", node.mac(segment.interface), "netns", node.netns)
            self._ip(self.router, "link", "add", near, "type", "veth", *peer)
            self._ip(self.router, "link", "set", near, "master", segment.name, "up")
        self._up(node.netns, OWN.interface, OWN.of_node(node))
        self._ip(node.netns, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        self._ip(node.netns, "link", "set", SECOND.interface, "master", BRIDGE, "up")
        self._up(node.netns, BRIDGE, SECOND.of_node(node))
        for gateway in OWN.gateways:
            self._ip(node.netns, "route", "replace", "default", "via", gateway.partition("/")[0])

    def close(self) -> None:
        """Nothing of it is there, and its nodes have the way out that the lab gives them."""
        for each in (self.router, self.outside):
            run("ip", "netns", "delete", each, check=False)
        for node in self.nodes:
            node.at_boot.remove(self._at_boot)
            for name in (BRIDGE, *(each.interface for each in (OWN, SECOND))):
                run("ip", "-n", node.netns, "link", "delete", name, check=False)
            run("ip", "-n", node.netns, "route", "replace", "default", "via", self.lab.panel_address, check=False)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` on the host outside when run here."""
        return ["ip", "netns", "exec", self.outside, *argv]

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 30.0) -> str:
        """What a program prints on the host outside; raises LabError with its words when it fails and `check`."""
        done = subprocess.run(
            self.argv(argv), capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            raise LabError(f"outside: {' '.join(argv)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def _up(self, where: str, name: str, addresses: Iterator[str] | Sequence[str]) -> None:
        self._ip(where, "link", "set", name, "up")
        for each in addresses:
            self._ip(where, "address", "add", each, "dev", name, *(["nodad"] if ":" in each else []))

    def _ip(self, where: str, *words: str) -> None:
        run("ip", "-n", where, *words)


@contextmanager
def provider_of(lab: Lab, nodes: Sequence[Node]) -> Iterator[Provider]:
    """Such a network around nodes of a lab, while it is needed."""
    provider = Provider(lab)
    try:
        provider.make()
        for node in nodes:
            provider.plug(node)
        yield provider
    finally:
        provider.close()
