"""What kinds of networks have in common whose bridge an interface of ours brings to other nodes: VLANs and VXLANs.

The node itself is not in such a network, as with “isolated”.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Dict, List, Set

from nodeagent import hostnet
from nodeagent.errors import Exists, InvalidParams, NoSuchInterface, Unsupported
from nodeagent.job import Job
from nodeagent.network.isolated import Isolated
from nodeagent.run import failed, run

MTU = "mtu"
UNKNOWN = ("Unknown device type", "Operation not supported")
"""How `ip` says that the kernel has no such interfaces."""


class Carried(Isolated, abc.ABC):
    """A bridge with one interface of ours in it."""

    WHAT: ClassVar[str]
    """What the kernel must have, for people."""

    @property
    @abc.abstractmethod
    def carrier(self) -> str:
        """The name of the interface."""

    @abc.abstractmethod
    def described(self) -> List[str]:
        """What stands between “ip link add” and the interface's settings: its kind and what makes it what it is."""

    @property
    def mtu(self) -> str:
        """What the longest packet is; "" for what the kernel takes."""
        return self.asked.options.get(MTU, "")

    def refuse_mtu(self) -> None:
        """Raise InvalidParams for an MTU that is none."""
        self.refuse_number(MTU, self.asked.options.get(MTU) or "1500", 576, 9216)

    def refuse_number(self, field: str, text: str, least: int, most: int) -> None:
        """Raise InvalidParams for what is no number of these."""
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise InvalidParams(f"It is a number from {least} to {most}.", field=field)

    @property
    def _alias(self) -> str:
        return f"{hostnet.MARK} for {self.name}"

    def make(self, job: Job) -> None:
        """The interface first: what the kernel cannot do leaves nothing behind."""
        there = {each["ifname"]: each for each in hostnet.ip(["link", "show"], job)}
        self.refuse_taken(job)
        self.refuse_unable(job)
        if self.needs and self.needs not in there:
            raise NoSuchInterface(f"The host has no interface “{self.needs}”.", name=self.needs)
        found = there.get(self.carrier)
        if found is not None and found.get("ifalias") != self._alias:
            text = f"The host has an interface “{self.carrier}” of its own, which the panel did not make."
            raise Exists(text, name=self.carrier)
        if found is None:
            self._drop_carriers(job)
            self._add_carrier(job)
        super().make(job)

    def _add_carrier(self, job: Job) -> None:
        done = run(["ip", "link", "add", *self.described()], job, check=False)
        if any(each in done.stderr for each in UNKNOWN):
            raise Unsupported(f"The node's kernel has no {self.WHAT}.")
        if done.exit_code:
            raise failed("ip", done)
        run(["ip", "link", "set", "dev", self.carrier, "alias", self._alias], job)

    def furnish(self, job: Job) -> None:
        """The bridge has the interface in it, which has no address either."""
        super().furnish(job)
        hostnet.sysctl(f"ipv6/conf/{self.carrier}/disable_ipv6", "1")
        if self.mtu:
            run(["ip", "link", "set", "dev", self.carrier, "mtu", self.mtu], job)
        run(["ip", "link", "set", "dev", self.carrier, "master", self.name, "up"], job)

    def ports(self, job: Job) -> List[str]:
        """Without the interface."""
        return [each for each in super().ports(job) if each != self.carrier]

    def lacks(self, job: Job) -> List[str]:
        """Also “carrier” where the interface is not in the bridge and up."""
        found = super().lacks(job)
        links = {each["ifname"]: each for each in hostnet.ip(["link", "show"], job)}
        there: Dict[str, Any] = links.get(self.carrier, {})
        if there.get("master") != self.name or "UP" not in there["flags"] or self.mtu not in ("", str(there["mtu"])):
            found.append("carrier")
        return found

    def remove(self, job: Job) -> None:
        """The bridge and the interface are gone."""
        super().remove(job)
        self._drop_carriers(job)

    def _drop_carriers(self, job: Job) -> None:
        for each in hostnet.ip(["link", "show"], job):
            if each.get("ifalias") == self._alias:
                run(["ip", "link", "delete", "dev", each["ifname"]], job)

    @classmethod
    def made(cls, job: Job) -> Set[str]:
        """Also those whose interface is there."""
        words = [str(each.get("ifalias", "")).split() for each in hostnet.ip(["link", "show"], job)]
        return super().made(job) | {each[2] for each in words if each[:2] == [hostnet.MARK, "for"] and len(each) == 3}
