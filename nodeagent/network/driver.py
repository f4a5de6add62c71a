"""What a kind of network can do on a node: the interface that every driver has.

A driver is one network, as a request asks for it and the node remembers it (protocol/network.py, BridgeEnsure). Kinds
that make a Linux bridge of their own have much in common, which is in bridged.py.
"""

from __future__ import annotations

import abc
import re
from typing import ClassVar, Dict, List, Sequence, Set, Type

from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol.network import BridgeEnsure

NAME = re.compile(r"[a-z][a-z0-9-]{0,14}\Z")


def refuse_name(name: str) -> None:
    """Raise InvalidParams for what is no name of a bridge of ours."""
    if not NAME.match(name):
        raise InvalidParams("A bridge has a name of up to 15 of a-z, 0-9 and hyphens.", field="name")


class Driver(abc.ABC):
    """A network of one kind. All that changes something may be repeated."""

    KIND: ClassVar[str]
    FORWARDS: ClassVar[bool] = False
    """Whether the host must forward packets while it has such a network."""

    ALONE: ClassVar[bool] = False
    """Whether nothing else of the host's may have addresses in its subnets."""
    ROUTES: ClassVar[bool] = False
    """Whether the host routes each guest's addresses to it, by route()."""

    def __init__(self, asked: BridgeEnsure) -> None:
        self.asked = asked

    @property
    def name(self) -> str:
        """The bridge that guests join."""
        return self.asked.name

    @property
    def hosts_own(self) -> bool:
        """Whether the bridge is the host's own: neither made nor removed, nor anything of it changed."""
        return False

    @property
    def takes(self) -> str:
        """The host's interface that is taken into the bridge with its addresses and routes; "" for none."""
        return ""

    @property
    def needs(self) -> str:
        """The host's interface without which it cannot be; "" for none."""
        return self.takes

    def refuse_name(self) -> None:
        """Raise InvalidParams for a name that a network of the kind cannot have; asks nobody."""
        refuse_name(self.name)

    @abc.abstractmethod
    def refuse(self) -> None:
        """Raise InvalidParams for options or subnets that a network of the kind cannot have; asks nobody."""

    def overlaps(self, job: Job) -> List[str]:
        """How the host uses on other interfaces what the network is to have alone, a sentence's end each."""
        return []

    @abc.abstractmethod
    def stands(self, job: Job) -> bool:
        """Whether guests may have joined it already: then it is kept, whatever has come to overlap it."""

    @abc.abstractmethod
    def make(self, job: Job) -> None:
        """Have the network; raises Exists where what bears its name is the host's own."""

    def shed(self, before: BridgeEnsure, job: Job) -> None:
        """What make() made of the network as it was asked for before, and it has no more, is gone."""
        return

    @abc.abstractmethod
    def remove(self, job: Job) -> None:
        """Nothing is there that make() made; what it did not make is left alone. No guest has joined it."""

    @abc.abstractmethod
    def exists(self, job: Job) -> bool:
        """Whether the bridge is there, and ours."""

    @abc.abstractmethod
    def ports(self, job: Job) -> List[str]:
        """The interfaces that have joined it."""

    @abc.abstractmethod
    def lacks(self, job: Job) -> List[str]:
        """What of it is not there as make() would have it, a word each."""

    def route(self, addresses: Sequence[str], left: Sequence[str], job: Job) -> None:
        """Guests have exactly these addresses on it; `left` are those that they had and have no more."""
        return

    def trial_left(self) -> float:
        """Within how many seconds it must be confirmed, or is gone again (protocol/network.py, BridgeConfirm)."""
        return 0.0

    def barriers(self, job: Job) -> List[str]:
        """Rules of the host's own that keep its guests from getting out."""
        return []

    @classmethod
    @abc.abstractmethod
    def made(cls, job: Job) -> Set[str]:
        """The names of those of which something is there that only we make, remembered or not."""


DRIVERS: Dict[str, Type[Driver]] = {}
"""The drivers by their kinds."""


def register(driver: Type[Driver]) -> Type[Driver]:
    """Class decorator: have networks of the driver's kind."""
    DRIVERS[driver.KIND] = driver
    return driver


__all__ = ["DRIVERS", "Driver", "refuse_name", "register"]
