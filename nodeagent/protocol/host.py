"""Requests about a VM's domain. The commands bear the names that VMmanager's operators know (host_stop, ...).

A domain is always named by its UUID. States are those of vmwatch.wire: "running", "paused",
"shut off", "saved", "crashed"; a domain that is not there is exists=false.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional

from nodeagent.protocol.settings import MachineSettings
from nodeagent.protocol.storage import NO_POOL, VolumeRef
from nodeagent.protocol.wire import Nothing, Request, command

EMPTY = VolumeRef(NO_POOL, "")
"""Nothing, in a drive."""
ISO_TARGET = "sdf"
"""The drive for ISO images. Seeds begin at sda, and a later name would be on another controller."""


@dataclass(frozen=True)
class DiskSpec:
    """A disk of a domain: `target` is the guest's name for it (vda, sda), `bus` virtio, sata, scsi.

    Limits are bytes and requests a second, 0 for none. What lies in no pool is named by its place (NO_POOL).
    """

    volume: VolumeRef
    format: str
    target: str
    bus: str = "virtio"
    cache: str = "none"
    read_bytes_sec: int = 0
    write_bytes_sec: int = 0
    read_iops_sec: int = 0
    write_iops_sec: int = 0


@dataclass(frozen=True)
class SecurityRule:
    """What a guest may receive ("in") or send ("out"), seen from the guest.

    `protocol` is "any", "tcp", "udp" or "icmp" (of either version of IP). Ports are those of whoever is asked, from
    `first` to `last`, 0 for all of them. `peers` are addresses and networks of the others; None: everybody.
    """

    direction: str
    protocol: str
    first: int = 0
    last: int = 0
    peers: Optional[List[str]] = None


@dataclass(frozen=True)
class Security:
    """The security groups of an interface as one: what no rule lets through is dropped, but for answers.

    `revision` says how new the rules are: older ones than those that the node has of the port change nothing there.
    """

    rules: List[SecurityRule]
    revision: int = 0


@dataclass(frozen=True)
class Forward:
    """Ports of the node, from `first` to `last`, that lead to the guest's: to `to`, several to the same numbers."""

    protocol: str
    first: int
    last: int
    to: int


@dataclass(frozen=True)
class InterfaceSpec:
    """A network interface of a domain, joined to a bridge of the node.

    `guarded`: the node lets through only frames that bear its MAC and one of its `addresses` as their
    source. Limits are of what the guest receives and sends, in KiB a second, 0 for none. Without `security` the guest
    receives and sends what it will. That and `forwards` are no part of the domain, nor of what makes two alike.
    """

    mac: str
    bridge: str
    model: str = "virtio"
    guarded: bool = False
    addresses: List[str] = field(default_factory=list)
    inbound_kibps: int = 0
    outbound_kibps: int = 0
    security: Optional[Security] = field(default=None, compare=False)
    forwards: List[Forward] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class DomainSpec:
    """A domain as the panel wants it. `virt` is "kvm" or "qemu"; `cdroms` are seeds.

    `autostart`: whether libvirt starts it when the node does.
    `iso` is what lies in the drive for installers and rescue systems, EMPTY for nothing, None for no such
    drive; `boot_iso`: the domain starts from it before its disks. `ends_at_reboot`: a guest that reboots is off.
    """

    uuid: str
    name: str
    memory_mib: int
    vcpus: int
    virt: str
    disks: List[DiskSpec]
    interfaces: List[InterfaceSpec]
    cdroms: List[VolumeRef] = field(default_factory=list)
    machine: str = "q35"
    title: str = ""
    settings: MachineSettings = field(default_factory=MachineSettings)
    autostart: bool = False
    iso: Optional[VolumeRef] = None
    boot_iso: bool = False
    ends_at_reboot: bool = False


BACKUP, MIGRATION, BLOCK_JOB = "backup", "migration", "block job"
JOBS = (BACKUP, MIGRATION, BLOCK_JOB)
"""A backup of its disks; its way to another node; a copy or commit of one of its disks."""


@dataclass(frozen=True)
class InterfaceCounts:
    """What a domain received and sent on one interface since it was started, or attached; None is not known."""

    name: str
    rx_bytes: Optional[int] = None
    rx_packets: Optional[int] = None
    tx_bytes: Optional[int] = None
    tx_packets: Optional[int] = None


@dataclass(frozen=True)
class LastCounters:
    """What a domain had counted since it was started, read as near to its end as could be.

    `run` is libvirt's id of the running domain, another one at every start. `final`: it did nothing between this
    reading and its end. It was read `after` so many seconds of the command; `clock` and `boot` are as in HostState.
    `interfaces` is None where libvirt does not say.
    """

    uuid: str
    run: int
    final: bool
    clock: float
    boot: str
    after: float = 0.0
    cpu_ns: Optional[int] = None
    interfaces: Optional[List[InterfaceCounts]] = None


@dataclass(frozen=True)
class HostState:
    """A domain as libvirt has it now; `vnc_port` is the loopback port of its console while it runs.

    `from_iso` is told by host_start alone: the domain runs since a start from its ISO drive this once.
    `clock` is when it was looked at, by a clock that nobody sets and that begins with the host's start `boot`; what
    vmwatch-node says bears the same, so that it is known which of both was first.
    `job` is told by host_info alone: what of JOBS somebody other than the panel has under way with it just now.
    `counters` are told by the command that ended the running domain, by host_shutdown also of one that runs still, and
    by host_info where it is asked for them.
    """

    uuid: str
    exists: bool
    name: str = ""
    state: str = ""
    persistent: bool = False
    vnc_port: Optional[int] = None
    xml: str = ""
    autostart: bool = False
    from_iso: bool = False
    clock: float = 0.0
    boot: str = ""
    job: str = ""
    counters: Optional[LastCounters] = None


@command
class HostCreate(Request[HostState]):
    """Have the domain as `spec` describes it; of one with this UUID that is there, what no spec says survives.

    `before`: what the panel has described so far. Only what differs between the two is changed then, and where the
    node has neither of them in that it is refused with `drifted`: somebody changed it by hand. One whose memory is
    saved is refused too.
    """

    COMMAND = "host_create"
    RESULT = HostState
    spec: DomainSpec
    before: Optional[DomainSpec] = None


@command
class HostDelete(Request[Nothing]):
    """Undefine the domain (NVRAM, managed save and snapshot records too); absent is success.

    A running domain is refused with `in_use`: host_stop comes first.
    """

    COMMAND = "host_delete"
    RESULT = Nothing
    uuid: str


@command
class HostStart(Request[HostState]):
    """Have the domain running; a running one is success. A saved one goes on where its memory was saved.

    `from_iso`: one that is off starts from its ISO drive this once, where something lies in it. It starts from what
    its description says when its guest resets it, and at every later start, whoever starts it.
    """

    COMMAND = "host_start"
    RESULT = HostState
    uuid: str
    from_iso: bool = False


@command
class HostShutdown(Request[HostState]):
    """Ask the guest to power off (ACPI, guest agent) and wait up to `timeout_seconds`.

    Answers the state reached: still "running" means that the guest did not obey. Reports progress.
    """

    COMMAND = "host_shutdown"
    RESULT = HostState
    uuid: str
    timeout_seconds: float = 60.0


@command
class HostStop(Request[HostState]):
    """Force the domain off at once; one that is off or absent is success."""

    COMMAND = "host_stop"
    RESULT = HostState
    uuid: str


@command
class HostDiscardSaved(Request[HostState]):
    """Discard the memory that libvirt keeps of a domain that is off; none, and no such domain, is success."""

    COMMAND = "host_discard_saved"
    RESULT = HostState
    uuid: str


@command
class HostReset(Request[HostState]):
    """Reset the domain as its button would: at once, the guest is not asked; `guest_stopped` when it is off."""

    COMMAND = "host_reset"
    RESULT = HostState
    uuid: str


@command
class HostPause(Request[HostState]):
    """Halt the domain's CPUs; one that is halted is success, `guest_stopped` when it is off."""

    COMMAND = "host_pause"
    RESULT = HostState
    uuid: str


@command
class HostResume(Request[HostState]):
    """Have a halted domain's CPUs go on; one that runs is success, `guest_stopped` when it is off."""

    COMMAND = "host_resume"
    RESULT = HostState
    uuid: str


@command
class HostAutostart(Request[HostState]):
    """Say whether libvirt starts the domain when the node does."""

    COMMAND = "host_autostart"
    RESULT = HostState
    uuid: str
    enabled: bool


@command
class HostInfo(Request[HostState]):
    """Read one domain; `counters`: with what it has counted, if it runs."""

    COMMAND = "host_info"
    RESULT = HostState
    MUTATES = False
    uuid: str
    counters: bool = False


@dataclass(frozen=True)
class HostList:
    """All domains of the node (without their XML).

    `nvram` are the UUIDs of which UEFI's memory is kept, of domains that are there or not. `snapshots` are by UUID the
    names of those that libvirt has; None: nobody looked.
    """

    hosts: List[HostState]
    nvram: List[str] = field(default_factory=list)
    snapshots: Optional[Dict[str, List[str]]] = None


@command
class HostsRead(Request[HostList]):
    """List all domains of the node, and what is kept of their UEFI."""

    COMMAND = "hosts_read"
    RESULT = HostList
    MUTATES = False


@dataclass(frozen=True)
class Reached:
    """After how many seconds the guest answered."""

    seconds: float


@command
class GuestWait(Request[Reached]):
    """Wait until a TCP connection to the guest succeeds; port 0 means an answer to ARP or ping is enough.

    Where the node is not in the guest's network, it asks at the guest's port whether anybody has the address.
    Ends with `guest_stopped` when the domain stops meanwhile and `deadline` when time is over.
    """

    COMMAND = "guest_wait"
    RESULT = Reached
    MUTATES = False
    uuid: str
    address: str
    port: int = 22
    timeout_seconds: float = 300.0


@dataclass(frozen=True)
class Console:
    """Where the console listens on the node's loopback until `expires` (seconds since the epoch)."""

    port: int
    expires: float


@command
class ConsoleOpen(Request[Console]):
    """Set a one-time VNC password on a running domain, valid for `valid_seconds`."""

    COMMAND = "console_open"
    RESULT = Console
    uuid: str
    password: str
    valid_seconds: float = 30.0


@dataclass(frozen=True)
class Picture:
    """A PNG, in base64."""

    png: str


@command
class HostPicture(Request[Picture]):
    """Read what a running domain shows on its screen, in small where that is large; `guest_stopped` when it is off."""

    COMMAND = "host_picture"
    RESULT = Picture
    MUTATES = False
    uuid: str
