"""Requests about pools, images, volumes, seeds. Sizes are bytes.

A pool has a kind and that kind's options, a volume is a pool and a name; where it is, the kind's driver alone knows
(nodeagent/storage). Images and seeds are no volumes: they lie in a file store, which is a pool of the kind “directory”
whatever the VM's own pool is, in its folders `images/` (the node's copies, `<sha256>.img`) and `seeds/`.

Requests say what format a volume has, which is never found out: a guest can write anything into its raw disk, such as
the header of a format that names files of the node.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional, Union

from nodeagent.protocol import words
from nodeagent.protocol.wire import BadMessage, Nothing, Request, command

DIRECTORY = "dir"
"""The kind of storage that is a folder."""


@dataclass(frozen=True)
class PoolRef:
    """A pool: its kind, its name in the panel, and what its kind's driver must know to find it."""

    kind: str
    name: str
    options: Dict[str, str] = field(default_factory=dict, hash=False)


NO_POOL = PoolRef("", "")
"""In place of the pool of what lies in none, and is named by its place on the node."""


@dataclass(frozen=True)
class VolumeRef:
    """A volume of a pool; also a seed or an image of a file store, see file_ref()."""

    pool: PoolRef
    name: str

    def __bool__(self) -> bool:
        return bool(self.name)


def file_ref(store: PoolRef, folder: str, name: str) -> VolumeRef:
    """A seed ("seeds") or a copy of an image ("images") in a file store."""
    return VolumeRef(replace(store, options={**store.options, "folder": folder}), name)


@dataclass(frozen=True)
class PoolState:
    """Space of a pool's file system, in bytes, and whether it can clone files by reference.

    `mark` is a random name that the pool's files bear, "" for none. Nodes that read different ones do not see the
    same files; those that read the same one see the same files, or a copy of them (pool_sign tells which).
    `devices` are the pool's file systems as a KnownPool has them.
    """

    capacity_bytes: int
    free_bytes: int
    reflink: bool
    mark: str = ""
    devices: Dict[str, str] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True)
class KnownPool:
    """What a node's pool was last seen to be. The panel sends it with every request, by the pool's name.

    A pool that is not this is not mounted, or another disk: no command touches it (`not_mounted`). An empty `mark`
    is not compared. `devices`, None where they are not known: under "" the UUID of the pool's file system, where
    that is known, and under the name of each folder that lies on another one, that one's UUID, or "other".
    """

    mark: str = ""
    devices: Optional[Dict[str, str]] = None


@command
class PoolEnsure(Request[PoolState]):
    """Have the pool; an existing one is left as it is.

    Without `begin` it must be there already, of a directory at least the folder of volumes: else `not_mounted`, and
    nothing is made. Refused with `read_only` where nothing can be written.
    """

    COMMAND = "pool_ensure"
    RESULT = PoolState
    pool: PoolRef
    begin: bool = True


@command
class PoolInfo(Request[PoolState]):
    """Read a pool's free space."""

    COMMAND = "pool_info"
    RESULT = PoolState
    MUTATES = False
    pool: PoolRef


@command
class PoolRemove(Request[Nothing]):
    """Remove an empty pool with its image copies; refused with `in_use` while volumes or seeds are there."""

    COMMAND = "pool_remove"
    RESULT = Nothing
    pool: PoolRef


@command
class PoolSign(Request[Nothing]):
    """Have the sign (32 hexadecimal digits) in the pool's root for another node to look for, or no longer."""

    COMMAND = "pool_sign"
    RESULT = Nothing
    pool: PoolRef
    sign: str
    present: bool = True


@dataclass(frozen=True)
class Sight:
    """Whether what was looked for is there."""

    seen: bool


@command
class PoolSignStatus(Request[Sight]):
    """Look for a sign that another node has put into the pool."""

    COMMAND = "pool_sign_status"
    RESULT = Sight
    MUTATES = False
    pool: PoolRef
    sign: str


@dataclass(frozen=True)
class ImageState:
    """Whether the node has the image's bytes, and where the asking task must upload them to."""

    present: bool
    upload_path: str


@command
class ImageStatus(Request[ImageState]):
    """Look whether the store has a copy of the image with this SHA-256."""

    COMMAND = "image_status"
    RESULT = ImageState
    MUTATES = False
    store: PoolRef
    sha256: str
    task: int = 0


@command
class UploadBegin(Request[Nothing]):
    """Have an empty file where a task sends an image to; what lies there is replaced, and whoever writes to it with it.

    What comes over another stream than the agent's makes no file itself: it may arrive when the task was undone.
    """

    COMMAND = "upload_begin"
    RESULT = Nothing
    store: PoolRef
    sha256: str
    task: int = 0


@command
class ImageCommit(Request[ImageState]):
    """Check an uploaded image against its SHA-256 and put it in place; already there is success.

    One that refers to other files is removed and refused, whatever it is used for (protocol/image.py).
    """

    COMMAND = "image_commit"
    RESULT = ImageState
    store: PoolRef
    sha256: str
    task: int = 0


@dataclass(frozen=True)
class Tidied:
    """The SHA-256 of the copies that were removed."""

    removed: List[str]


@command
class ImagesTidy(Request[Tidied]):
    """Remove the store's copies of images that are not among `keep` (SHA-256).

    Those that came less than `age_seconds` ago stay, for whoever is about to use them, and those that a domain
    or a snapshot names.
    """

    COMMAND = "images_tidy"
    RESULT = Tidied
    store: PoolRef
    keep: List[str]
    age_seconds: float = 3600.0


@command
class UploadDelete(Request[Nothing]):
    """Remove what a task uploaded of an image and did not commit; absent is success."""

    COMMAND = "upload_delete"
    RESULT = Nothing
    REMOVES = True
    store: PoolRef
    sha256: str
    task: int


@dataclass(frozen=True)
class VolumeState:
    """A volume as qemu-img sees it; sizes in bytes, `allocated_bytes` what it takes on disk."""

    exists: bool
    format: str = ""
    virtual_bytes: int = 0
    allocated_bytes: int = 0


@command
class VolumeCopy(Request[VolumeState]):
    """Make a volume from an image: a clone by reference where the file system can, else a copy.

    It has its name only when it is whole, so an existing volume is finished and is left as it is.
    Converts when `format` differs from `image_format`, which is never found out. An image that refers to other files
    is refused. Reports progress in bytes.
    """

    COMMAND = "volume_copy"
    RESULT = VolumeState
    volume: VolumeRef
    store: PoolRef
    image_sha256: str
    format: str = "qcow2"
    image_format: str = "qcow2"


@command
class VolumeCreate(Request[VolumeState]):
    """Make an empty volume; an existing one of the same size is success, of another size `exists`."""

    COMMAND = "volume_create"
    RESULT = VolumeState
    volume: VolumeRef
    size_bytes: int
    format: str = "qcow2"


@command
class VolumeGrow(Request[VolumeState]):
    """Grow a volume to `size_bytes`; never shrinks (a larger one is left as it is)."""

    COMMAND = "volume_grow"
    RESULT = VolumeState
    volume: VolumeRef
    size_bytes: int
    format: str = "qcow2"


@command
class VolumeInfo(Request[VolumeState]):
    """Read a volume; one that is absent answers exists=false. An empty `format`: what it looks like is told."""

    COMMAND = "volume_info"
    RESULT = VolumeState
    MUTATES = False
    volume: VolumeRef
    format: str = "qcow2"


@dataclass(frozen=True)
class VolumeUse:
    """What a domain has as its disk `target`, or that this disk builds upon (`backing`).

    `place` is where it is, as libvirt names it: a file's path, for one; see nodeagent.storage.place().
    """

    place: str
    uuid: str
    domain: str
    target: str
    backing: bool = False


@dataclass(frozen=True)
class VolumeUses:
    """Who has what."""

    uses: List[VolumeUse]


@command
class UsesRead(Request[VolumeUses]):
    """Tell which domains of the node, running or off, have the `volumes`, and all that the domain `uuid` has.

    Of every domain all where neither is given.
    """

    COMMAND = "uses_read"
    RESULT = VolumeUses
    MUTATES = False
    volumes: List[VolumeRef] = field(default_factory=list)
    uuid: str = ""


@command
class VolumeDelete(Request[Nothing]):
    """Remove a volume and what is unfinished of it; absent is success.

    Refused with `in_use` while any domain has it or builds upon it, or somebody has it open.
    """

    COMMAND = "volume_delete"
    RESULT = Nothing
    REMOVES = True
    volume: VolumeRef


@dataclass(frozen=True)
class GuestAddress:
    """An address of a guest's interface; `gateway` is its version's, or "" for none."""

    address: str
    prefix: int
    gateway: str = ""


@dataclass(frozen=True)
class GuestInterface:
    """An interface of a guest with all that it is told of it; `mtu` in bytes, 0 for what is usual."""

    mac: str
    addresses: List[GuestAddress]
    nameservers: List[str] = field(default_factory=list)
    mtu: int = 0


@dataclass(frozen=True)
class GuestIdentity:
    """What a guest is told about itself. `password_hash` is a crypt(3) hash or empty.

    `address`, `prefix` and `gateway` ("" for none) are those of its first interface's primary address, `further` its
    others, of either version of IP; `mtu` is that interface's, `interfaces` are its others.

    With `keeps_password` no hash means that the guest's password, which nobody here knows, stays and lets it in.
    """

    hostname: str
    login: str
    address: str
    prefix: int
    gateway: str
    mac: str
    nameservers: List[str] = field(default_factory=list)
    ssh_keys: List[str] = field(default_factory=list)
    password_hash: str = ""
    timezone: str = "UTC"
    keeps_password: bool = False
    further: List[GuestAddress] = field(default_factory=list)
    mtu: int = 0
    interfaces: List[GuestInterface] = field(default_factory=list)

    def every_interface(self) -> List[GuestInterface]:
        """All its interfaces, the first one, which it is reached by, first."""
        return every_interface(self)


@dataclass(frozen=True)
class GuestNetwork:
    """What a guest is told of its interfaces; as in GuestIdentity."""

    mac: str
    address: str
    prefix: int
    gateway: str
    nameservers: List[str] = field(default_factory=list)
    further: List[GuestAddress] = field(default_factory=list)
    mtu: int = 0
    interfaces: List[GuestInterface] = field(default_factory=list)

    def every_interface(self) -> List[GuestInterface]:
        """All its interfaces, the first one, which it is reached by, first."""
        return every_interface(self)


def every_interface(told: Union[GuestIdentity, GuestNetwork]) -> List[GuestInterface]:
    """All interfaces of a guest, the first one first."""
    first = [GuestAddress(told.address, told.prefix, told.gateway), *told.further]
    return [GuestInterface(told.mac, first, told.nameservers, told.mtu), *told.interfaces]


NOBODY_ENTERS = "Neither a password nor a key of the VM is known, so nobody could enter its new system: name one."


def keeping(guest: GuestIdentity, old: GuestIdentity, *, keys: bool) -> GuestIdentity:
    """The identity with the old one's password where it has none, and with its keys besides."""
    more = [key for key in old.ssh_keys if key not in guest.ssh_keys] if keys else []
    return replace(guest, password_hash=guest.password_hash or old.password_hash, ssh_keys=[*guest.ssh_keys, *more])


_SHAPES = {
    "hostname": re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z"),
    "login": re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z"),
    "password_hash": re.compile(r"[A-Za-z0-9./$=,+*-]*\Z"),
    "timezone": re.compile(r"[A-Za-z0-9][A-Za-z0-9/_+-]*\Z"),
}


_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")
_MTU = range(576, 65536)


def check_identity(guest: GuestIdentity) -> None:
    """Refuse what could mean something else in one of the files that are made of it; raises BadMessage."""
    for name, shape in _SHAPES.items():
        if not shape.match(getattr(guest, name)):
            raise BadMessage(f"guest.{name}", "is not acceptable")
    for each in guest.every_interface():
        _check_interface(each)
    if not all(words.is_one_line(key) for key in guest.ssh_keys):
        raise BadMessage("guest.ssh_keys", "must be one line each")


def _check_interface(told: GuestInterface) -> None:
    if not _MAC.match(told.mac):
        raise BadMessage("guest.mac", "is not acceptable")
    if told.mtu and told.mtu not in _MTU:
        raise BadMessage("guest.mtu", "is not acceptable")
    gateways = [each.gateway or each.address for each in told.addresses]
    for name, values in (
        ("address", [each.address for each in told.addresses]),
        ("gateway", gateways),
        ("nameservers", told.nameservers),
    ):
        try:
            for value in values:
                ipaddress.ip_address(value)
        except ValueError as error:
            raise BadMessage(f"guest.{name}", "is not acceptable") from error
    for each in told.addresses:
        address = ipaddress.ip_address(each.address)
        if not 0 <= each.prefix <= address.max_prefixlen:
            raise BadMessage("guest.prefix", "is not acceptable")
        if each.gateway and ipaddress.ip_address(each.gateway).version != address.version:
            raise BadMessage("guest.gateway", "is not acceptable")


@command
class SeedCreate(Request[VolumeState]):
    """Make the NoCloud seed (an ISO 9660 image labelled cidata) from a guest's identity; overwrites.

    `keep_from` is another seed, whose password is taken where the identity has none, and with `keep_keys` its keys
    besides. What it holds stays on the node. Refused with `invalid_params` where nobody could enter then.
    """

    COMMAND = "seed_create"
    RESULT = VolumeState
    seed: VolumeRef
    instance_id: str
    guest: GuestIdentity
    keep_from: Optional[VolumeRef] = None
    keep_keys: bool = False


@command
class SeedDelete(Request[Nothing]):
    """Remove a seed; absent is success. `in_use` as of volume_delete."""

    COMMAND = "seed_delete"
    RESULT = Nothing
    REMOVES = True
    seed: VolumeRef


@command
class VolumeCustomize(Request[Nothing]):
    """Set identity inside a stopped guest's volume with virt-customize, for images without cloud-init."""

    COMMAND = "volume_customize"
    RESULT = Nothing
    volume: VolumeRef
    guest: GuestIdentity
    format: str = "qcow2"


@dataclass(frozen=True)
class VolumeSize:
    """Sizes in bytes: of a volume's file, which is that of a raw volume, and the one that a qcow2 header tells.

    The second is 0 for no such header. A guest can write one into its raw disk: whoever asks knows the format.
    """

    file_bytes: int
    qcow2_bytes: int


@dataclass(frozen=True)
class PoolFiles:
    """Names of the files in a pool by folder ("images", "volumes", "seeds"), unfinished ones included.

    `sizes` are those of the volumes, by their names.
    """

    files: Dict[str, List[str]]
    sizes: Dict[str, VolumeSize] = field(default_factory=dict)


@command
class PoolList(Request[PoolFiles]):
    """List a pool's files and the volumes' sizes, for comparing the node with the panel's records."""

    COMMAND = "pool_list"
    RESULT = PoolFiles
    MUTATES = False
    pool: PoolRef
