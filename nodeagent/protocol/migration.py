"""Requests about moving a domain from one node to another: what both must have, the tunnel, the move.

`ticket` is the number of the task that moves it; what the two nodes have for the move bears it and goes with
`migration_close`. docs/decisions/0010 says how the nodes reach each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional

from nodeagent.protocol.host import HostState, LastCounters
from nodeagent.protocol.storage import PoolRef, VolumeRef, VolumeState
from nodeagent.protocol.wire import Nothing, Request, command


@dataclass(frozen=True)
class Subject:
    """A domain that is to be moved, as far as a target must know it.

    `cpu` is its host's CPU in libvirt's XML, `qemu_version` libvirt's number; `files` are the places of what lies in
    its drives. `cached` are the targets of the disks of which its host keeps what another node would not see (any cache
    mode but none and directsync); `nvram_bytes` is the size of what its UEFI remembers, 0 for nothing.
    """

    uuid: str
    name: str
    state: str
    virt: str
    machine: str
    cpu: str
    qemu_version: int
    snapshots: int
    files: List[str]
    cached: List[str]
    nvram_bytes: int
    snapshot_names: List[str] = field(default_factory=list)


@command
class MigrationDescribe(Request[Subject]):
    """Read what a target must know of the domain."""

    COMMAND = "migration_describe"
    RESULT = Subject
    MUTATES = False
    uuid: str


@dataclass(frozen=True)
class Reasons:
    """Why this node cannot take the domain, as sentences without a full stop; none when it can."""

    reasons: List[str]


@command
class MigrationCheck(Request[Reasons]):
    """Look whether this node can take the domain: its parts, CPU, versions, bridges, memory and free space.

    `files` must be here already; `memory_mib` is 0 for a domain that is off.
    """

    COMMAND = "migration_check"
    RESULT = Reasons
    MUTATES = False
    subject: Subject
    pool: PoolRef
    room_bytes: int
    memory_mib: int
    bridges: List[str]
    files: List[str]


@dataclass(frozen=True)
class Offer:
    """The key with which the source will sign in at the target for this one move."""

    public_key: str


@command
class MigrationOffer(Request[Offer]):
    """Have a key pair for the ticket; made on the source, and its private part never leaves it."""

    COMMAND = "migration_offer"
    RESULT = Offer
    ticket: int


@dataclass(frozen=True)
class Tunnel:
    """Where libvirt listens on the target."""

    libvirt_socket: str


@command
class MigrationAccept(Request[Tunnel]):
    """Let the source's key in for forwarding alone, for `valid_seconds` at most."""

    COMMAND = "migration_accept"
    RESULT = Tunnel
    ticket: int
    public_key: str
    valid_seconds: float = 86400.0


@command
class MigrationClose(Request[Nothing]):
    """Remove what this node has for the ticket: keys, sockets, a volume that is being received; absent is success."""

    COMMAND = "migration_close"
    RESULT = Nothing
    ticket: int


@dataclass(frozen=True)
class Target:
    """How the source reaches the target by ssh, and libvirt's socket there. `host_key` is the pinned key."""

    address: str
    port: int
    user: str
    host_key: str
    libvirt_socket: str


@dataclass(frozen=True)
class Moved:
    """What a move took; `downtime_ms` is how long the guest stood still, as libvirt and the agent measured it.

    `counters` are those of the domain that ended here; where it arrived they begin anew.
    """

    seconds: float
    downtime_ms: int
    moved_bytes: int
    counters: Optional[LastCounters] = None


@command
class MigrationRun(Request[Moved]):
    """Move the running domain to the target, and resume it there (if `resume`) once it is off here.

    `disks` are the targets of the disks to be copied, for which the target has empty volumes of the same sizes;
    `shared` of those that are the same files there, which must not be cached here. There is no other.
    Reports progress in bytes. When it fails or is cancelled the guest runs on here; the domain stays defined here in
    any case. `bandwidth_mib` is in MiB/s, 0 for no limit.
    """

    COMMAND = "migration_run"
    RESULT = Moved
    ticket: int
    uuid: str
    target: Target
    disks: List[str]
    shared: List[str]
    resume: bool = True
    bandwidth_mib: int = 0


@command
class MigrationStop(Request[HostState]):
    """Have no migration of the domain under way: one that is gets aborted. Answers the domain's state."""

    COMMAND = "migration_stop"
    RESULT = HostState
    uuid: str


@command
class VolumeOpen(Request[Nothing]):
    """Receive the content of an existing empty volume from the source, until volume_close."""

    COMMAND = "volume_open"
    RESULT = Nothing
    ticket: int
    volume: VolumeRef
    format: str


@command
class VolumeSend(Request[Nothing]):
    """Send a volume's content to the target's volume_open, without what is empty; reports progress in bytes."""

    COMMAND = "volume_send"
    RESULT = Nothing
    ticket: int
    volume: VolumeRef
    format: str
    target: Target
    bandwidth_mib: int = 0


@command
class VolumeClose(Request[VolumeState]):
    """Receive no more: what was received is written to the volume."""

    COMMAND = "volume_close"
    RESULT = VolumeState
    ticket: int
    volume: VolumeRef
    format: str = "qcow2"


NVRAM_MOST_BYTES = 16 * 1024**2
"""What a UEFI remembers at most; OVMF's is 528 KiB."""


@command
class NvramOpen(Request[Nothing]):
    """Receive what a domain's UEFI remembers from the source, until nvram_close."""

    COMMAND = "nvram_open"
    RESULT = Nothing
    ticket: int
    uuid: str
    size_bytes: int


@command
class NvramSend(Request[Nothing]):
    """Send what the UEFI of a domain that is off remembers to the target's nvram_open."""

    COMMAND = "nvram_send"
    RESULT = Nothing
    ticket: int
    uuid: str
    target: Target


@command
class NvramClose(Request[Nothing]):
    """Receive no more: the domain's UEFI remembers what was received."""

    COMMAND = "nvram_close"
    RESULT = Nothing
    ticket: int
    uuid: str
