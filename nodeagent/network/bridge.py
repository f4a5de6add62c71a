"""The kind “bridge”: guests are in the node's own network.

They join a bridge that the host has already, which is left alone, or one of ours that takes the host's interface or
bond in (uplinks.py).
"""

from __future__ import annotations

import re
from typing import List

from nodeagent import hostnet, uplinks
from nodeagent.errors import InUse, InvalidParams, NoSuchInterface
from nodeagent.job import Job
from nodeagent.network.bridged import Bridged
from nodeagent.network.driver import register

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
"""What an interface of the host's own may be called."""
OWN = "bridge"
"""The option that names the host's own bridge."""
UPLINK = "uplink"
"""The option that names what is taken in."""


@register
class Bridge(Bridged):
    """A network that the node is in itself."""

    KIND = "bridge"

    @property
    def hosts_own(self) -> bool:
        """Whether it is a bridge that the host has already."""
        return bool(self.asked.options.get(OWN))

    @property
    def takes(self) -> str:
        """The host's interface that is taken in, if it is not."""
        return self.asked.options.get(UPLINK, "")

    def refuse_name(self) -> None:
        """The name of the host's bridge is as its administrator chose it."""
        if not self.hosts_own:
            super().refuse_name()
        elif not INTERFACE.match(self.name):
            raise InvalidParams("This is no name of an interface.", field="name")

    def refuse(self) -> None:
        """It has either option; subnets are of any version, and the node is no gateway of them."""
        self.refuse_options(OWN, UPLINK)
        self.refuse_subnets()
        if not self.hosts_own and not self.takes:
            raise InvalidParams("No uplink of this node is said for the network.", field=UPLINK)
        if self.hosts_own and self.takes:
            raise InvalidParams("Such a network has the host's bridge or an uplink, one of both.", field=UPLINK)
        if self.hosts_own and self.asked.options[OWN] != self.name:
            raise InvalidParams("Guests join the host's bridge by its own name.", field=OWN)
        if self.takes and (not INTERFACE.match(self.takes) or self.takes == self.name):
            raise InvalidParams("This is no name of an interface that can be taken in.", field=UPLINK)

    def make(self, job: Job) -> None:
        """The host's bridge is there, and left alone; or ours, with the uplink in it and all that it had."""
        if self.hosts_own:
            if not self.exists(job):
                raise NoSuchInterface(f"The host has no bridge “{self.name}”.", name=self.name)
            return
        self.refuse_taken(job)
        uplinks.refuse(self.name, self.takes, job)
        if uplinks.find(self.name, job) not in (None, self.takes):
            if self.exists(job) and self.ports(job):
                raise InUse("The bridge still has guests: it keeps its uplink.", ports=self.ports(job))
            uplinks.leave(self.name, job)
        uplinks.take(self.name, self.takes, self.asked.trial_seconds, job)

    def remove(self, job: Job) -> None:
        """The host's bridge stays as it is; of ours, the uplink has again what the bridge has."""
        if not self.hosts_own:
            super().remove(job)

    def exists(self, job: Job) -> bool:
        """Whether the host has such a bridge, which is none of ours; or ours is there."""
        if not self.hosts_own:
            return super().exists(job)
        return not hostnet.links(job).get(self.name, True) and self.name in hostnet.bridges(job)

    def ports(self, job: Job) -> List[str]:
        """The guests' interfaces on it; on the host's own those that QEMU has made."""
        if not self.hosts_own:
            return super().ports(job)
        shown = hostnet.ip(["-d", "link", "show", "master", self.name], job)
        return sorted(each["ifname"] for each in shown if each.get("linkinfo", {}).get("info_kind") == "tun")

    def lacks(self, job: Job) -> List[str]:
        """Also “uplink” where that is not in it, or has addresses of its own."""
        found = super().lacks(job)
        if self.takes and "bridge" not in found and not uplinks.is_in_place(self.name, self.takes, job):
            found.append("uplink")
        return found

    def trial_left(self) -> float:
        """While nobody has confirmed it."""
        return uplinks.left(self.name) if self.takes else 0.0
