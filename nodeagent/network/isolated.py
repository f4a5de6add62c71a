"""The kind “isolated”: a bridge of guests alone. The node has no address on it, takes and sends nothing there."""

from __future__ import annotations

from typing import Dict, List

from nodeagent import hostnet
from nodeagent.job import Job
from nodeagent.network.bridged import Bridged, chain
from nodeagent.network.driver import register
from nodeagent.run import run


@register
class Isolated(Bridged):
    """A network that ends at the node."""

    KIND = "isolated"
    FAMILIES = ("inet", "arp")

    def refuse(self) -> None:
        """Its subnets are of any version, and the node is no gateway of theirs; it has no options."""
        self.refuse_options()
        self.refuse_subnets()

    def furnish(self, job: Job) -> None:
        """The bridge has no address, and makes none of what guests advertise."""
        hostnet.sysctl(f"ipv6/conf/{self.name}/disable_ipv6", "1")
        if self.addresses(job):
            run(["ip", "address", "flush", "dev", self.name], job)

    def lacks(self, job: Job) -> List[str]:
        """Also “apart” where the node has come to have an address on it."""
        found = super().lacks(job)
        return [*found, "apart"] if "bridge" not in found and self.addresses(job) else found

    def rules(self) -> Dict[str, str]:
        """Without an address on it, the node would still answer there for its other ones, and forward (weak host)."""
        name = self.name
        others = [f'iifname "{name}" oifname != "{name}" drop', f'iifname != "{name}" oifname "{name}" drop']
        input_of = chain("input", "filter hook input priority filter", [f'iifname "{name}" drop'])
        return {"inet": input_of + chain("forward", "filter hook forward priority filter", others), "arp": input_of}
