"""A kind of network for tests: bridges are in the memory of whoever serves them. All that a node needs of it."""

from __future__ import annotations

import ipaddress
from typing import ClassVar

from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.network import Driver, register


@register
class Memory(Driver):
    """A network, by the option `wire`."""

    KIND = "memory"
    THERE: ClassVar[dict[str, str]] = {}
    """Which bridge is on which wire."""

    @property
    def _wire(self) -> str:
        return self.asked.options.get("wire", "")

    def refuse(self) -> None:
        """A wire has a name; its subnets are of any version, with no gateway on the node."""
        if not self._wire.isalnum():
            raise InvalidParams("A wire is named by letters and digits.", field="wire")
        try:
            for each in self.asked.every_subnet():
                ipaddress.ip_network(each.subnet)
        except ValueError as error:
            raise InvalidParams(f"This is not a network: {error}.", field="subnet") from error

    def stands(self, job: Job) -> bool:
        """Whether it is there."""
        return self.exists(job)

    def make(self, job: Job) -> None:
        """The bridge is on the wire."""
        self.THERE[self.name] = self._wire

    def remove(self, job: Job) -> None:
        """It is not."""
        self.THERE.pop(self.name, None)

    def exists(self, job: Job) -> bool:
        """Whether it is."""
        return self.name in self.THERE

    def ports(self, job: Job) -> list[str]:
        """Nothing can be plugged in."""
        return []

    def lacks(self, job: Job) -> list[str]:
        """Whether it is on this wire."""
        found = self.THERE.get(self.name)
        return ["bridge"] if found is None else [] if found == self._wire else ["wire"]

    @classmethod
    def made(cls, job: Job) -> set[str]:
        """All of them."""
        return set(cls.THERE)
