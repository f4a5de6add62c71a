"""Requests about the devices of a running domain: disks, CD-ROM drives, network interfaces.

What a domain shall have at its next start is host_create's alone, with the whole description. These
bring the running domain after it where QEMU can; of a domain that is off there is nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.protocol.host import DiskSpec, InterfaceSpec
from nodeagent.protocol.storage import VolumeRef, VolumeState
from nodeagent.protocol.wire import Request, command


@dataclass(frozen=True)
class DeviceState:
    """Whether the domain runs, and whether the running guest has what was asked for; if not it comes at its start."""

    running: bool
    live: bool


@command
class DiskAttach(Request[DeviceState]):
    """Plug the disk into the running domain, if its bus can; already there is success."""

    COMMAND = "disk_attach"
    RESULT = DeviceState
    uuid: str
    disk: DiskSpec


@command
class DiskDetach(Request[DeviceState]):
    """Unplug the disk with this volume from the running domain and wait until the guest has let go.

    Absent is success. A guest that does not let go, and a bus that cannot be unplugged, are `in_use`. Another one
    under the name `target` is `drifted`: somebody put it there, and the guest goes on writing to it.
    """

    COMMAND = "disk_detach"
    RESULT = DeviceState
    uuid: str
    volume: VolumeRef
    timeout_seconds: float = 60.0
    target: str = ""


@command
class DiskGrow(Request[VolumeState]):
    """Grow a disk's volume, through the domain while it runs, so that the guest sees it; never shrinks."""

    COMMAND = "disk_grow"
    RESULT = VolumeState
    uuid: str
    volume: VolumeRef
    size_bytes: int
    format: str = "qcow2"


@command
class DiskLimit(Request[DeviceState]):
    """Set the running domain's limits of a disk to those of the description."""

    COMMAND = "disk_limit"
    RESULT = DeviceState
    uuid: str
    disk: DiskSpec


@command
class CdromChange(Request[DeviceState]):
    """Put the ISO image into the running domain's drive `target`, or EMPTY (host.py)."""

    COMMAND = "cdrom_change"
    RESULT = DeviceState
    uuid: str
    target: str
    iso: VolumeRef


@command
class InterfaceAttach(Request[DeviceState]):
    """Plug the interface into the running domain; one with its MAC address is success."""

    COMMAND = "interface_attach"
    RESULT = DeviceState
    uuid: str
    interface: InterfaceSpec


@command
class InterfaceDetach(Request[DeviceState]):
    """Unplug the interface with this MAC address and wait until the guest has let go (else `in_use`)."""

    COMMAND = "interface_detach"
    RESULT = DeviceState
    uuid: str
    mac: str
    timeout_seconds: float = 60.0


@command
class InterfaceChange(Request[DeviceState]):
    """Have the running domain's interface of this MAC address in the description's bridge, with its limits."""

    COMMAND = "interface_change"
    RESULT = DeviceState
    uuid: str
    interface: InterfaceSpec
