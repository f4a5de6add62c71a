"""The kind “vxlan”: one network on all nodes over the nodes' own network, each sending to the addresses of the others.

There is no multicast in it: what goes to everybody goes to each of the other nodes, which the panel names (RFC 7348).
"""

from __future__ import annotations

import ipaddress
from typing import List, Set

from nodeagent import hostnet
from nodeagent.errors import InvalidParams, NoSuchInterface
from nodeagent.job import Job
from nodeagent.network.carried import MTU, Carried
from nodeagent.network.driver import register
from nodeagent.run import run

VNI = "vni"
LOCAL = "local"
PEERS = "peers"
PORT = "4789"
EVERYBODY = "00:00:00:00:00:00"
USUAL_MTU = {4: "1450", 6: "1430"}
"""What of 1500 bytes the headers leave."""


@register
class Vxlan(Carried):
    """A VXLAN by its VNI."""

    KIND = "vxlan"
    WHAT = "VXLANs"

    def refuse(self) -> None:
        """It has a VNI, the node's address and those of others; the node is no gateway of its subnets."""
        self.refuse_options(VNI, LOCAL, PEERS, MTU)
        self.refuse_subnets()
        self.refuse_number(VNI, self.asked.options.get(VNI, ""), 1, (1 << 24) - 1)
        self.refuse_mtu()
        try:
            versions = {each.version for each in (self._local, *map(ipaddress.ip_address, self._peers()))}
        except ValueError as error:
            raise InvalidParams(f"This is not an address: {error}.", field=PEERS) from error
        if len(versions) != 1:
            raise InvalidParams("The nodes' addresses are not all of one version.", field=PEERS)

    @property
    def _local(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self.asked.options.get(LOCAL, ""))

    def _peers(self) -> List[str]:
        return [each for each in self.asked.options.get(PEERS, "").split(",") if each]

    @property
    def mtu(self) -> str:
        """What is left beside the headers, unless it is said."""
        return super().mtu or USUAL_MTU[self._local.version]

    @property
    def carrier(self) -> str:
        """Named by the VNI."""
        return f"vmvx{self.asked.options.get(VNI, '')}"

    def described(self) -> List[str]:
        """Without a group, and learning who is where from what comes."""
        kind = ["name", self.carrier, "type", "vxlan", "id", self.asked.options[VNI]]
        return [*kind, "dstport", PORT, "local", str(self._local)]

    def make(self, job: Job) -> None:
        """Also every other node has what goes to everybody."""
        shown = hostnet.ip(["address", "show"], job)
        mine = {each["local"] for entry in shown for each in entry.get("addr_info", ())}
        if str(self._local) not in mine:
            raise NoSuchInterface(f"The host has no interface with the address {self._local}.", name=str(self._local))
        super().make(job)
        there, wanted = self._flooded(job), {*self._peers()}
        for verb, peers in (("append", wanted - there), ("delete", there - wanted)):
            for each in sorted(peers):
                run(["bridge", "fdb", verb, EVERYBODY, "dev", self.carrier, "dst", each], job)

    def _flooded(self, job: Job) -> Set[str]:
        shown = hostnet.bridge(["fdb", "show", "dev", self.carrier], job)
        return {each["dst"] for each in shown if each.get("mac") == EVERYBODY and "dst" in each}

    def lacks(self, job: Job) -> List[str]:
        """Also “peers” where it sends to others than those it was told of."""
        found = super().lacks(job)
        return found if "carrier" in found or self._flooded(job) == {*self._peers()} else [*found, "peers"]
