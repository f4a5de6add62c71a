"""Networks: one driver a kind. Commands ask here for a network's driver, and know of no kind by name.

A driver is a class in a module here that register() enters in DRIVERS: driver.py says what it must do. Whatever the
kind is, guests join a network by the bridge of its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import List, Mapping, Optional, Set

from nodeagent import overrides, paths
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.network.driver import DRIVERS, Driver, refuse_name, register
from nodeagent.protocol.network import NAT, BridgeEnsure

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def load_own(folder: Optional[Path] = None) -> None:
    """Have the kinds of the administrator's too: each *.py in /etc/vmpanel/network registers one."""
    overrides.load_kinds(folder or paths.NETWORK_KINDS, "network")


def of(asked: BridgeEnsure) -> Driver:
    """The driver of the network; raises InvalidParams for a kind that is not known, and asks nobody."""
    if asked.kind not in DRIVERS:
        raise InvalidParams(f"This node knows no networks of the kind “{asked.kind}”.", field="kind")
    return DRIVERS[asked.kind](asked)


def checked(asked: BridgeEnsure) -> Driver:
    """The same of a network that can be: its name, options and subnets are acceptable; raises InvalidParams."""
    found = of(asked)
    found.refuse_name()
    found.refuse()
    return found


def routes(asked: Mapping[str, object]) -> bool:
    """Whether guests' addresses are routed to the network that is remembered so."""
    driver = DRIVERS.get(str(asked.get("kind", NAT)))
    return driver is not None and driver.ROUTES


def made(job: Job) -> Set[str]:
    """The names of the bridges of which something is there that only the panel makes."""
    return {name for driver in DRIVERS.values() for name in driver.made(job)}


def unremembered(name: str, job: Job) -> List[Driver]:
    """The drivers of all kinds that have something there by this name."""
    return [driver(BridgeEnsure(name, kind=kind)) for kind, driver in DRIVERS.items() if name in driver.made(job)]


__all__ = [
    "DRIVERS",
    "Driver",
    "checked",
    "load_own",
    "made",
    "of",
    "refuse_name",
    "register",
    "routes",
    "unremembered",
]
