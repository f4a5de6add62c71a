"""Requests about pools, images, volumes, seeds. Sizes are bytes.

A pool has a kind and that kind's options, a volume is a pool and a name; where it is, the kind's driver alone knows
(nodeagent/storage). Images and seeds are no volumes: they lie in a file store, which is a pool of the kind “directory”
whatever the VM's own pool is, in its folders `images/` (the node's copies, `<sha256>.img`) and `seeds/`.

Requests say what format a volume has, which is never found out: a guest can write anything into its raw disk, such as
the header of a format that names files of the node.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional

from nodeagent.protocol.wire import Nothing, Request, command

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
