"""A domain's settings that are neither disks nor interfaces, and how a difference in them is told.

Part of DomainSpec (host.py); the requests about them are in audit.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List


@dataclass(frozen=True)
class MachineSettings:
    """How the virtual machine is built and what it may take; the defaults say nothing to libvirt.

    `max_memory_mib` and `max_vcpus` are how far memory and CPUs can grow while it runs, 0: no farther.
    `cpu_weight` (2 to 262144) and `io_weight` (100 to 1000) are shares beside others, `cpu_limit_percent`
    is of one CPU for the whole VM; 0 is none. `cpu_mode` is host-model, host-passthrough, maximum or custom
    (then `cpu_model` names it), empty: what suits the node. `boot` holds disk, cdrom, network in the order
    of trying; `firmware` is bios or uefi, `clock` what the guest reads from it: utc or localtime.
    """

    max_memory_mib: int = 0
    max_vcpus: int = 0
    cpu_weight: int = 0
    cpu_limit_percent: int = 0
    io_weight: int = 0
    cpu_mode: str = ""
    cpu_model: str = ""
    boot: List[str] = field(default_factory=lambda: ["disk"])
    firmware: str = "bios"
    clock: str = "utc"
    description: str = ""


@dataclass(frozen=True)
class Difference:
    """What a field of a domain is and what it should be, or will be at the next start; None: there is no such part."""

    field: str
    now: Any
    then: Any
