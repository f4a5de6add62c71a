"""The storage kind “directory”: volumes are files in a folder's `volumes/`; beside them lie `images/` and `seeds/`.

The only module that knows a pool's path and a volume's. Whether what is at the path is the pool that the panel knows is
asked of known.py before anything is touched, whether two nodes see the same folder of sharing.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

from nodeagent import holders, known, paths, sharing
from nodeagent.errors import InUse, InvalidParams, ReadOnly
from nodeagent.job import Job
from nodeagent.protocol.storage import DIRECTORY, PoolRef, PoolState, VolumeSize, VolumeState
from nodeagent.storage.driver import Driver, register
from nodeagent.storage.files import FileStore, inside, list_names
from nodeagent.xml.source import DiskSource

VOLUMES = "volumes"
PARTIAL = ".part"
"""What the names of volumes end with while they are made."""
BLOCK = 8 * 1024 * 1024
FICLONE = 0x40049409
"""The ioctl that clones a file by reference (linux/fs.h)."""
QCOW2_MAGIC = b"QFI\xfb"
SECTOR = 512
"""In bytes; stat(2) counts blocks of as many."""


@dataclass(frozen=True)
class Space:
    """A file system's size and what is free of it, in bytes; it can hold so many more `files`, None: as many as fit."""

    capacity_bytes: int
    free_bytes: int
    files: Optional[int]
    read_only: bool


def space_of(path: Path) -> Space:
    """The space of the file system at the path; raises OSError."""
    seen = os.statvfs(path)
    size, free = seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize
    return Space(size, free, seen.f_favail if seen.f_files else None, bool(seen.f_flag & os.ST_RDONLY))


@register
class Directory(Driver):
    """A pool that is a folder of the node."""

    KIND = DIRECTORY

    def __init__(self, pool: PoolRef) -> None:
        super().__init__(pool)
        self.root = Path(pool.options.get("path", ""))
        self.folder = self.root / pool.options.get("folder", VOLUMES)
        self.files: FileStore = FileStore(self.root)

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.root)

    def refuse_options(self) -> None:
        """An absolute path."""
        root = self.root
        if not root.is_absolute() or ".." in root.parts or len(root.parts) < 3 or self.folder.name not in known.FOLDERS:
            raise InvalidParams("A pool must be an absolute path of at least two folders.", field="path")

    def check(self) -> None:
        """By its mark and its file systems."""
        super().check()
        known.check(self.pool.name, self.root, paths.DISKS_BY_UUID)

    def source(self, name: str) -> DiskSource:
        """The file's path, as it was given."""
        return DiskSource("file", {"file": f"{self.folder}/{name}"})

    def name_at(self, place: str) -> Optional[str]:
        """What lies right in the folder."""
        folder, _, name = place.rpartition("/")
        return name if folder == str(self.folder) and name else None

    def ensure(self, begin: bool) -> PoolState:
        """Have the pool's folders; QEMU must be able to pass through them."""
        root = self.root
        if not begin and not (root / VOLUMES).is_dir() and not sharing.read_mark(root):
            raise known.not_mounted(root, "it is not there any more")
        self._refuse_dangling()
        self.refuse_read_only()
        above = [folder for folder in reversed(root.parents) if folder == paths.STATE or not folder.exists()]
        for folder in (*above, root, *self._folders()):
            _let_pass(folder)
        sharing.make_mark(root)
        return self.state()

    def state(self) -> PoolState:
        """Its file system's."""
        if not self.root.is_dir():
            raise InvalidParams("There is no pool at this path.", field="path")
        space = space_of(self.root)
        return PoolState(
            capacity_bytes=space.capacity_bytes,
            free_bytes=space.free_bytes,
            reflink=not space.read_only and _can_clone(self.root),
            mark=sharing.read_mark(self.root),
            devices=known.devices(self.root, paths.DISKS_BY_UUID),
            read_only=space.read_only,
        )

    def free_bytes(self) -> Optional[int]:
        """Its file system's."""
        try:
            return space_of(self.root).free_bytes
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the folder with the files beside; what is not ours is left, and then the folder too."""
        if list_names(self.folder):
            raise InUse("The pool still has volumes.")
        self.files.remove()
        sharing.remove_marks(self.root)
        for folder in (*self._folders(), self.root):
            with contextlib.suppress(FileNotFoundError, OSError):
                folder.rmdir()

    def volumes(self) -> Dict[str, Optional[VolumeSize]]:
        """The files, their sizes read without a program: a pool may hold hundreds."""
        return {name: _size(self.folder / name) for name in list_names(self.folder)}

    def put_sign(self, sign: str) -> None:
        """A file in the folder."""
        if not self.root.is_dir():
            raise InvalidParams("There is no pool at this path.", field="path")
        sharing.put_sign(self.root, sign)

    def take_sign(self, sign: str) -> None:
        """The file is gone."""
        sharing.take_sign(self.root, sign)

    def has_sign(self, sign: str) -> bool:
        """Whether the file is seen."""
        return sharing.sign_file(self.root, sign).exists()

    def refuse_read_only(self) -> None:
        """Raise ReadOnly where nothing can be written to the pool."""
        if self.root.is_dir() and space_of(self.root).read_only:
            raise ReadOnly(f"The file system of the storage at {self.root} is mounted read-only.")

    def image(self, name: str) -> str:
        """The file's path."""
        return str(self.file_of(name))

    def file_of(self, name: str) -> Path:
        """The file, symbolic links followed."""
        return inside(self.folder, str(self.folder / name))

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.file_of(name).exists()

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[str]:
        """A file beside, which takes the volume's place."""
        path = self.file_of(name)
        partial = Path(f"{path}{PARTIAL}")
        try:
            yield str(partial)
            partial.rename(path)
        finally:
            paths.remove_file(partial)

    def info(self, name: str, kind: str, job: Job) -> VolumeState:
        """Of a file of this format without a program, which takes longer to start than all else does."""
        quick = _state(self.file_of(name), kind) if kind in self.FORMATS else None
        return quick or super().info(name, kind, job)

    def delete(self, name: str, job: Job) -> None:
        """Remove the file and what an interrupted copy left."""
        path = self.file_of(name)
        holders.refuse_used(path, job)
        for file in (path, Path(f"{path}{PARTIAL}")):
            paths.remove_file(file)

    def copy(self, source: Path, target: str, job: Job) -> bool:
        """By reference, where the file system can."""
        copy_file(source, Path(target), job)
        return True

    def refuse_built_upon(self, name: str) -> None:
        """By the file's path."""
        holders.refuse_built_upon(self.file_of(name))

    def keep_private(self, name: str) -> None:
        """libvirt gives a file to QEMU when its domain starts."""
        self.file_of(name).chmod(0o600)

    def _folders(self) -> Tuple[Path, ...]:
        return tuple(self.root / name for name in known.FOLDERS)

    def _refuse_dangling(self) -> None:
        """Raise NotMounted where a symbolic link on the way to the pool or to one of its folders leads nowhere."""
        for folder in (*reversed(self.root.parents), self.root, *self._folders()):
            if folder.is_symlink() and not folder.exists():
                raise known.not_mounted(self.root, f"{folder} leads to {os.readlink(folder)}, which is not there")


def _let_pass(folder: Path) -> None:
    """The folder is there, and QEMU, which need not be root, passes through it: the agent's umask may forbid it."""
    folder.mkdir(exist_ok=True, mode=0o711)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o011 != 0o011:
        folder.chmod(mode | 0o011)


def _state(volume: Path, kind: str) -> Optional[VolumeState]:
    """The volume as it is; None where it is none of this format, or not there."""
    size = _size(volume)
    if size is None or (kind == "qcow2" and not size.qcow2_bytes):
        return None
    try:
        allocated = volume.stat().st_blocks * SECTOR
    except FileNotFoundError:
        return None
    # QEMU gives a raw file whole sectors.
    virtual = size.qcow2_bytes if kind == "qcow2" else -(-size.file_bytes // SECTOR) * SECTOR
    return VolumeState(True, kind, virtual, allocated)


def _size(volume: Path) -> Optional[VolumeSize]:
    try:
        if not stat.S_ISREG(volume.stat().st_mode):
            return None
        with volume.open("rb") as file:
            header = file.read(32)
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        return None
    # Magic and, in bytes 24 to 31, the size as the guest sees it (QEMU's docs/interop/qcow2.txt).
    virtual = int.from_bytes(header[24:32], "big") if header[:4] == QCOW2_MAGIC else 0
    return VolumeSize(file_bytes=size, qcow2_bytes=virtual)


def _can_clone(root: Path) -> bool:
    with tempfile.TemporaryFile(dir=root) as source, tempfile.TemporaryFile(dir=root) as target:
        source.write(b"\0" * 4096)
        source.flush()
        return _clone(source.fileno(), target.fileno())


def _clone(source: int, target: int) -> bool:
    """Make the file `target` a clone of `source` by reference; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def copy_file(source: Path, target: Path, job: Job) -> None:
    """Clone by reference, or copy the parts that hold data; the kernel does both without our reading it."""
    size = source.stat().st_size
    with open(source, "rb") as reader, open(target, "wb") as writer:
        if _clone(reader.fileno(), writer.fileno()):
            return
        for begin, end in _data(reader.fileno(), size):
            while begin < end:
                begin += _copy_range(reader.fileno(), writer.fileno(), min(BLOCK, end - begin), begin)
                job.progress(begin, size, "copying the image")
        os.ftruncate(writer.fileno(), size)


def _copy_range(source: int, target: int, length: int, offset: int) -> int:
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, length)


def _data(file: int, size: int) -> Iterator[Tuple[int, int]]:
    """The ranges of a sparse file that hold data."""
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, offset
