"""The kind “vlan”: a VLAN of the switches that the nodes' uplinks are at, as a tagged sub-interface in a bridge."""

from __future__ import annotations

import hashlib
from typing import List

from nodeagent import hostnet
from nodeagent.errors import InvalidParams
from nodeagent.network.bridge import INTERFACE, UPLINK
from nodeagent.network.carried import MTU, Carried
from nodeagent.network.driver import register

VLAN = "vlan"


@register
class Vlan(Carried):
    """A VLAN by its id."""

    KIND = "vlan"
    WHAT = "VLANs (802.1Q)"

    @property
    def needs(self) -> str:
        """What the VLAN is tagged on."""
        return self.asked.options.get(UPLINK, "")

    @property
    def _id(self) -> str:
        return self.asked.options.get(VLAN, "")

    def refuse(self) -> None:
        """It has an uplink and an id; the node is no gateway of its subnets."""
        self.refuse_options(UPLINK, VLAN, MTU)
        self.refuse_subnets()
        if not INTERFACE.match(self.needs):
            raise InvalidParams("No uplink of this node is said for the network.", field=UPLINK)
        self.refuse_number(VLAN, self._id, 1, 4094)
        self.refuse_mtu()

    @property
    def carrier(self) -> str:
        """As people name them, where that is short enough."""
        name = f"{self.needs}.{self._id}"
        if len(name) < hostnet.LONGEST_NAME:
            return name
        return f"v{hashlib.sha256(self.needs.encode()).hexdigest()[:8]}.{self._id}"

    def described(self) -> List[str]:
        """A sub-interface of the uplink."""
        return ["link", self.needs, "name", self.carrier, "type", "vlan", "id", self._id]
