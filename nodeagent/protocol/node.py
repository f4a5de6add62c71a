"""Requests about the node itself: facts, packages, services, vmwatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from nodeagent.protocol.wire import Nothing, Request, command

ANSWERS, OFF, SILENT = "answers", "off", "silent"
"""What a cheap call to libvirt shows: it is not installed or does not run, or it runs and gave no answer."""


@dataclass(frozen=True)
class FileSystem:
    """One mounted file system; sizes in bytes."""

    path: str
    device: str
    size_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Facts:
    """What a node is. libvirt's parts are None where they are not known: what libvirt says of QEMU may be slow.

    `libvirt` is ANSWERS, OFF or SILENT, with the reason in `libvirt_text`; empty is unknown. `libvirt_seconds` is how
    long it took over what it says of QEMU and of its host. `kvm` is a sentence where QEMU's user may not open /dev/kvm.
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
    libvirt: str = ""
    libvirt_text: str = ""
    libvirt_seconds: Optional[float] = None
    kvm: str = ""


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
    """Have libvirtd running and coming back by itself, and /dev/kvm open to QEMU's user; answers the facts.

    What libvirt says of QEMU and of its host is waited for so long; it is None when that takes longer.
    """

    COMMAND = "libvirt_ensure"
    RESULT = Facts
    facts_seconds: float = 0.0


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


LIBVIRTD, VMWATCH_NODE = "libvirtd", "vmwatch-node"
SERVICES = (LIBVIRTD, VMWATCH_NODE)
"""What can be started anew on a node."""


@command
class ServiceRestart(Request[ServiceState]):
    """Start one of SERVICES anew and wait until it runs. Guests run on: libvirtd ends and begins without them.

    Another name is refused with `invalid_params`, and so is a libvirtd that nobody keeps running.
    """

    COMMAND = "service_restart"
    RESULT = ServiceState
    service: str


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


@dataclass(frozen=True)
class HostMark:
    """Whose node the host says it is: `panel` is empty where it says nothing; the names are for people."""

    panel: str = ""
    node: int = 0
    name: str = ""
    panel_name: str = ""


@command
class MarkRead(Request[HostMark]):
    """Read whose node the host says it is."""

    COMMAND = "mark_read"
    RESULT = HostMark
    MUTATES = False


@command
class AgentRemove(Request[Nothing]):
    """Remove what the panel put on the node, the agent's own files and the panel's key last; the session ends after it.

    `key` is the panel's public key, which lets nobody in any more. A host that says that it is a node of another panel
    than `panel` is refused with `in_use`, and nothing is touched.
    """

    COMMAND = "agent_remove"
    RESULT = Nothing
    key: str
    panel: str
