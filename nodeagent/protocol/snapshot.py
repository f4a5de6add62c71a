"""Requests about a domain's snapshots: libvirt's internal ones, kept inside the qcow2 files of the disks.

A snapshot is named by the panel's UUID for it; what people call it stays in the panel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional

from nodeagent.protocol.host import HostState
from nodeagent.protocol.wire import Nothing, Request, command

RUNNING_UEFI = (
    "A VM with UEFI firmware can have a snapshot only while it is off: libvirt keeps no memory of one that runs. "
    "Shut it down first, or give it BIOS firmware."
)


@dataclass(frozen=True)
class SnapshotState:
    """A snapshot as libvirt has it.

    `state` is the domain's when it was taken, `parent` the snapshot that it went on from then. Of an `external` one
    something is in files of its own: since it was taken the guest writes elsewhere. `created_at` is seconds since 1970.
    """

    name: str
    exists: bool
    state: str = ""
    with_memory: bool = False
    parent: Optional[str] = None
    current: bool = False
    external: bool = False
    created_at: int = field(default=0, compare=False)


@command
class SnapshotCreate(Request[SnapshotState]):
    """Take a snapshot of all the domain's disks, and of its memory if asked; one of this name is success.

    A running domain's snapshot must have its memory (else `in_use`), one that is off has none
    (`guest_stopped`). ISOs have no part in it. The guest stands still while its memory is written.
    """

    COMMAND = "snapshot_create"
    RESULT = SnapshotState
    uuid: str
    name: str
    with_memory: bool = False


@command
class SnapshotDelete(Request[Nothing]):
    """Remove a snapshot, also one that libvirt has lost and the disks still have; absent is success.

    Later ones stay, and follow the one before it.
    """

    COMMAND = "snapshot_delete"
    RESULT = Nothing
    uuid: str
    name: str


@command
class SnapshotRevert(Request[HostState]):
    """Have disks, memory and description as they were in the snapshot: running again, or off.

    What happened since is lost, unless a snapshot has it.
    """

    COMMAND = "snapshot_revert"
    RESULT = HostState
    uuid: str
    name: str


@dataclass(frozen=True)
class SnapshotList:
    """All snapshots of a domain."""

    snapshots: List[SnapshotState]


@command
class SnapshotsRead(Request[SnapshotList]):
    """List the domain's snapshots."""

    COMMAND = "snapshots_read"
    RESULT = SnapshotList
    MUTATES = False
    uuid: str
