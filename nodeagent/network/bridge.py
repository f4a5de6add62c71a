"""What kinds of networks have in common that make a Linux bridge: one with our mark, of a MAC made from its name."""

from __future__ import annotations

from typing import List, Set

from nodeagent import hostnet
from nodeagent.errors import Exists
from nodeagent.job import Job
from nodeagent.network.driver import Driver
from nodeagent.run import run


class Bridged(Driver):
    """A network with a bridge of its own."""

    def stands(self, job: Job) -> bool:
        """Whether the bridge is there."""
        return self.exists(job)

    def make(self, job: Job) -> None:
        """Have the bridge, up."""
        name, there = self.name, hostnet.links(job)
        if there.get(name) is False:
            raise Exists(f"The host has an interface “{name}” of its own, which the panel did not make.", name=name)
        # The same on every node: a guest that is moved finds its gateway where it remembers it.
        mac = hostnet.bridge_mac(name)
        if name not in there:
            run(["ip", "link", "add", "name", name, "address", mac, "type", "bridge", "forward_delay", "0"], job)
        run(["ip", "link", "set", "dev", name, "address", mac, "alias", hostnet.MARK], job)
        self.furnish(job)
        run(["ip", "link", "set", "dev", name, "up"], job)

    def furnish(self, job: Job) -> None:
        """The bridge has what the kind adds, before it is up."""

    def remove(self, job: Job) -> None:
        """The bridge is gone, if it is ours."""
        if self.exists(job):
            run(["ip", "link", "delete", "dev", self.name], job)

    def exists(self, job: Job) -> bool:
        """Whether it is there, and ours."""
        return hostnet.links(job).get(self.name, False)

    def ports(self, job: Job) -> List[str]:
        """The interfaces that are joined to it."""
        return sorted(entry["ifname"] for entry in hostnet.ip(["link", "show", "master", self.name], job))

    def lacks(self, job: Job) -> List[str]:
        """That it is not there, or not up."""
        if not self.exists(job):
            return ["bridge"]
        return [] if "UP" in hostnet.ip(["link", "show", "dev", self.name], job)[0]["flags"] else ["up"]

    def addresses(self, job: Job) -> List[str]:
        """The bridge's own addresses in CIDR form."""
        entries = hostnet.ip(["address", "show", "dev", self.name], job)
        return [f"{each['local']}/{each['prefixlen']}" for entry in entries for each in entry.get("addr_info", [])]

    @classmethod
    def made(cls, job: Job) -> Set[str]:
        """The bridges that are there with our mark."""
        return {name for name, ours in hostnet.links(job).items() if ours}
