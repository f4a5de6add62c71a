"""The kind “bridge”: guests are in the node's own network, on a bridge that the host has already."""

from __future__ import annotations

import re
from typing import List

from nodeagent import hostnet
from nodeagent.errors import InvalidParams, NoSuchInterface
from nodeagent.job import Job
from nodeagent.network.bridged import Bridged
from nodeagent.network.driver import register

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
"""What an interface of the host's own may be called."""
OWN = "bridge"
"""The option that names the host's own bridge."""


@register
class Bridge(Bridged):
    """A network that the node is in itself."""

    KIND = "bridge"

    @property
    def hosts_own(self) -> bool:
        """Always."""
        return True

    def refuse_name(self) -> None:
        """It is the name of the host's bridge, which its administrator chose."""
        if not INTERFACE.match(self.name):
            raise InvalidParams("This is no name of an interface.", field="name")

    def refuse(self) -> None:
        """Its bridge is the host's of the same name; subnets are of any version, and the node is no gateway of them."""
        self.refuse_options(OWN)
        self.refuse_subnets()
        if self.asked.options.get(OWN) != self.name:
            raise InvalidParams("Guests join the host's bridge by its own name.", field=OWN)

    def make(self, job: Job) -> None:
        """The host's bridge is there; it is left alone."""
        if not self.exists(job):
            raise NoSuchInterface(f"The host has no bridge “{self.name}”.", name=self.name)

    def remove(self, job: Job) -> None:
        """It stays as it is."""

    def exists(self, job: Job) -> bool:
        """Whether the host has such a bridge, which is none of ours."""
        return not hostnet.links(job).get(self.name, True) and self.name in hostnet.bridges(job)

    def ports(self, job: Job) -> List[str]:
        """The guests' interfaces on it: those that QEMU has made."""
        shown = hostnet.ip(["-d", "link", "show", "master", self.name], job)
        return sorted(each["ifname"] for each in shown if each.get("linkinfo", {}).get("info_kind") == "tun")
