"""Requests that compare domains with what the panel wants, and bring them there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from nodeagent.protocol.host import DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.protocol.settings import Difference
from nodeagent.protocol.snapshot import SnapshotState
from nodeagent.protocol.wire import Request, command

__all__ = [
    "Audit",
    "Configured",
    "Difference",
    "Differing",
    "HostConfigure",
    "HostRepair",
    "HostsAudit",
    "Kept",
    "UnmanagedDetails",
    "UnmanagedDomain",
]


@dataclass(frozen=True)
class Configured:
    """What is left of a change: `pending` comes with the domain's next start; `remarks` say why, for people."""

    pending: List[Difference] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)


@command
class HostConfigure(Request[Configured]):
    """Give the domain the settings of `spec`, live where QEMU can; devices are left as they are.

    The persistent description always changes, and what it has besides the settings survives.
    With `before` only the settings that differ from it change; refused with `drifted` as host_create is.
    """

    COMMAND = "host_configure"
    RESULT = Configured
    spec: DomainSpec
    before: Optional[DomainSpec] = None


DISKS_GONE = "Not only the domain is gone, but disks too: {}. Bring them back, or delete the VM."


@command
class HostRepair(Request[Configured]):
    """Define the domain and its filters anew as `spec` says; a running one goes on as it is until its next start.

    Refused with `invalid_params` and DISKS_GONE where neither the domain is there nor all of its disks; with `drifted`
    where a disk goes on in another file that builds upon the one of `spec` or was written later, unless `discard`.
    """

    COMMAND = "host_repair"
    RESULT = Configured
    spec: DomainSpec
    discard: bool = False


@dataclass(frozen=True)
class Differing:
    """A domain that is not what its spec says (`drift`), or that runs otherwise than it is described (`pending`)."""

    uuid: str
    drift: List[Difference] = field(default_factory=list)
    pending: List[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class UnmanagedDetails:
    """What must be known of a domain to take it over: its devices as far as a spec can say them, and its facts.

    Disks are named by their places, in no pool: in which one they lie is for whoever knows the pools to say. An
    interface that is joined to no bridge has an empty bridge.
    `facts` are those that comparisons know (xml/facts.py), by their names.
    """

    disks: List[DiskSpec] = field(default_factory=list)
    interfaces: List[InterfaceSpec] = field(default_factory=list)
    facts: Dict[str, Any] = field(default_factory=dict)
    autostart: bool = False
    persistent: bool = True
    snapshots: int = 0


@dataclass(frozen=True)
class UnmanagedDomain:
    """A domain that no spec is about. `disks` are their places."""

    uuid: str
    name: str
    state: str
    memory_mib: int
    vcpus: int
    disks: List[str] = field(default_factory=list)
    macs: List[str] = field(default_factory=list)
    details: Optional[UnmanagedDetails] = None


@dataclass(frozen=True)
class Kept:
    """All snapshots that libvirt has of a domain."""

    uuid: str
    snapshots: List[SnapshotState]


@dataclass(frozen=True)
class Audit:
    """The differences only; domains that are as they should be are not told of.

    `kept` are the snapshots of those domains of `specs` that have any; None: nobody looked.
    """

    differing: List[Differing] = field(default_factory=list)
    absent: List[str] = field(default_factory=list)
    foreign: List[UnmanagedDomain] = field(default_factory=list)
    kept: Optional[List[Kept]] = field(default=None, compare=False)


@command
class HostsAudit(Request[Audit]):
    """Compare the node's domains with `specs`, and list those that none of them is about, unless not `others`."""

    COMMAND = "hosts_audit"
    RESULT = Audit
    MUTATES = False
    specs: List[DomainSpec]
    others: bool = True
