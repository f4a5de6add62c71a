"""Requests about a VM's guest and identity after its deployment: name, password, keys, a copy of its disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import List, Optional

from nodeagent.protocol.host import HostState
from nodeagent.protocol.identity import GuestAddress, GuestIdentity, GuestNetwork, check_identity
from nodeagent.protocol.storage import VolumeRef, VolumeState
from nodeagent.protocol.wire import Nothing, Request, command


@dataclass(frozen=True)
class GuestChange:
    """What of a guest's identity becomes another; None stays as it is. `ssh_keys` are all that shall be let in.

    A running guest's agent is not told of another `network`: it reads that at its next start.
    """

    hostname: Optional[str] = None
    password_hash: Optional[str] = None
    ssh_keys: Optional[List[str]] = None
    network: Optional[GuestNetwork] = None

    def of(self, guest: GuestIdentity) -> GuestIdentity:
        """The identity with the change."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        network = values.pop("network", None)
        return dataclasses.replace(guest, **values, **(vars(network) if network is not None else {}))


def check_change(change: GuestChange, login: str = "root") -> None:
    """Refuse what could mean something else in one of the files that are made of it; raises BadMessage."""
    somebody = GuestIdentity("guest", login, "192.0.2.2", 24, "192.0.2.1", "52:54:00:00:00:00")
    check_identity(change.of(somebody))


@command
class HostRename(Request[HostState]):
    """Have the domain bear the name; refused with `in_use` while it runs or has snapshots.

    It bears it already: success.
    """

    COMMAND = "host_rename"
    RESULT = HostState
    uuid: str
    name: str


@command
class SeedChange(Request[VolumeState]):
    """Make the seed anew with the change, all else as it stands there; the guest reads it at its next start.

    cloud-init sets name and addresses at every start, password and keys only for an `instance_id` that it has not
    seen; None keeps the one that is there.
    """

    COMMAND = "seed_change"
    RESULT = VolumeState
    seed: VolumeRef
    change: GuestChange
    instance_id: Optional[str] = None


@command
class SeedRestore(Request[VolumeState]):
    """Have a seed for a guest that had one and kept what it was told; where it is there, nothing changes.

    `instance_id` is one that cloud-init has not seen: what it was called when the seed went is not known.
    """

    COMMAND = "seed_restore"
    RESULT = VolumeState
    seed: VolumeRef
    instance_id: str
    guest: GuestIdentity


@command
class VolumeReconfigure(Request[Nothing]):
    """Make the change inside a stopped guest's volume with virt-customize, for images without cloud-init."""

    COMMAND = "volume_reconfigure"
    RESULT = Nothing
    volume: VolumeRef
    login: str
    change: GuestChange
    format: str = "qcow2"


@dataclass(frozen=True)
class Configured:
    """Whether the guest agent answered; where it did not, nothing was changed."""

    answered: bool


@command
class GuestConfigure(Request[Configured]):
    """Have the guest agent of a running guest make the change; no agent, or a guest that is off, is answered=false."""

    COMMAND = "guest_configure"
    RESULT = Configured
    uuid: str
    login: str
    change: GuestChange


@command
class GuestAddresses(Request[Configured]):
    """Have the guest agent of a running guest give the interface its addresses as in `network`, and take `gone` away.

    Until the guest's next start, which reads its seed or its own files. No agent, or one that knows no such interface,
    and a guest that is off, are answered=false; what the guest refuses is `command_failed`.
    """

    COMMAND = "guest_addresses"
    RESULT = Configured
    uuid: str
    mac: str
    network: GuestNetwork
    gone: List[GuestAddress] = field(default_factory=list)


@command
class VolumeClone(Request[VolumeState]):
    """Make a volume from another one that nothing writes to, of the same format; its snapshots are left out.

    It has its name only when it is whole, so an existing volume is finished and left as it is.
    Refused with `in_use` while QEMU holds the source. Reports progress in bytes.
    """

    COMMAND = "volume_clone"
    RESULT = VolumeState
    volume: VolumeRef
    source: VolumeRef
    format: str = "qcow2"


@dataclass(frozen=True)
class DiskCopy:
    """A volume, and where a copy of it shall be, which has its format."""

    volume: VolumeRef
    source: VolumeRef
    format: str = "qcow2"


@dataclass(frozen=True)
class DisksCopied:
    """Whether the guest's agent held its file systems still at that moment; None when the copies were there before."""

    frozen: Optional[bool]


@command
class DisksCopy(Request[DisksCopied]):
    """Copy the volumes of a domain that runs or is paused, all as of one moment; its guest goes on meanwhile.

    Of the same formats, without snapshots. A volume that QEMU does not hold is copied as by volume_clone. They have
    their names only when all are whole; when all are there already they are left as they are, and when it fails or is
    cancelled none is there. Refused with `unsupported` where libvirt or QEMU cannot, `guest_stopped` when the domain is
    off, `in_use` while somebody else makes a backup of it. Reports progress in bytes.
    """

    COMMAND = "disks_copy"
    RESULT = DisksCopied
    uuid: str
    copies: List[DiskCopy]


@command
class DisksCopyStop(Request[Nothing]):
    """Have no such copying of the domain under way, its guest not frozen by one, and no copy there unless all are."""

    COMMAND = "disks_copy_stop"
    RESULT = Nothing
    REMOVES = True
    uuid: str
    copies: List[DiskCopy]
