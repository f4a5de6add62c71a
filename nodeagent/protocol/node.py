"""Requests about the node itself: facts, packages, services, vmwatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from nodeagent.protocol.wire import Nothing, Request, command


@dataclass(frozen=True)
class FileSystem:
    """One mounted file system; sizes in bytes."""

    path: str
    device: str
    size_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Facts:
    """What a node is. libvirt's parts are None while libvirt is not installed or not running.

    `copies_running` is whether libvirt and QEMU can copy the disks of a VM that runs.
    """

    hostname: str
    os_id: str
    os_version: str
    os_name: str
    kernel: str
    python: str
    arch: str
    cpu_model: str
    cpu_count: int
    memory_mib: int
    memory_free_mib: int
    file_systems: List[FileSystem]
    time: float
    libvirt_version: Optional[str] = None
    qemu_version: Optional[str] = None
    host_uuid: Optional[str] = None
    copies_running: Optional[bool] = None


@command
class NodeFacts(Request[Facts]):
    """Read what the node is; changes nothing and needs nothing installed but Python."""

    COMMAND = "node_facts"
    RESULT = Facts
    MUTATES = False


@dataclass(frozen=True)
class Probe:
    """How guests can run here: `accel` is "kvm" or "qemu"; `detail` says why, for a person."""

    accel: str
    detail: str


@command
class NodeProbe(Request[Probe]):
    """Really start a guest CPU under KVM and see whether it gets through its firmware."""

    COMMAND = "node_probe"
    RESULT = Probe
    MUTATES = False
    timeout_seconds: float = 8.0


@dataclass(frozen=True)
class Installed:
    """Names of the packages that were missing and are now installed."""

    packages: List[str]


@command
class PackagesInstall(Request[Installed]):
    """Install the distribution packages a node needs (the agent knows their names per family)."""

    COMMAND = "packages_install"
    RESULT = Installed


@command
class LibvirtEnsure(Request[Facts]):
    """Have libvirtd running and coming back by itself; answers the facts with libvirt's part."""

    COMMAND = "libvirt_ensure"
    RESULT = Facts


@dataclass(frozen=True)
class ServiceState:
    """Whether a service runs; `pid` is None when it does not."""

    name: str
    running: bool
    pid: Optional[int] = None


@command
class VmwatchConfigure(Request[ServiceState]):
    """Write vmwatch-node.conf (mode 0600, atomically) and have the service running with it.

    A running service reads its file again; one whose program changed since its start is started anew.
    `resync` are seconds; `server_key` is empty where messages travel in the open.
    """

    COMMAND = "vmwatch_configure"
    RESULT = ServiceState
    connect: str
    secret: str
    node_id: int
    resync: float = 15.0
    server_key: str = ""


@command
class VmwatchStatus(Request[ServiceState]):
    """Look whether vmwatch-node runs; one that ended is given the few seconds in which it is started again."""

    COMMAND = "vmwatch_status"
    RESULT = ServiceState
    MUTATES = False


@dataclass(frozen=True)
class Reached:
    """Whether a connection came about; `reason` says why it did not."""

    reached: bool
    reason: str = ""


@command
class PortProbe(Request[Reached]):
    """Connect from the node to a port elsewhere, send nothing, and close the connection."""

    COMMAND = "port_probe"
    RESULT = Reached
    MUTATES = False
    address: str
    port: int


@command
class VmwatchRemove(Request[Nothing]):
    """Stop vmwatch-node and remove its configuration and service; nothing there is success."""

    COMMAND = "vmwatch_remove"
    RESULT = Nothing


@command
class AgentRemove(Request[Nothing]):
    """Remove what the panel put on the node, the agent's own files last; the session ends after it."""

    COMMAND = "agent_remove"
    RESULT = Nothing
