"""Directory pools: a folder with images/, volumes/ and seeds/."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import Optional

from nodeagent import known, paths, sharing
from nodeagent.commands import handles
from nodeagent.errors import InUse, InvalidParams, ReadOnly
from nodeagent.job import Job
from nodeagent.protocol import Nothing, storage

FICLONE = 0x40049409
"""The ioctl that clones a file by reference (linux/fs.h)."""
QCOW2_MAGIC = b"QFI\xfb"


@handles(storage.PoolEnsure)
def pool_ensure(request: storage.PoolEnsure, job: Job) -> storage.PoolState:
    """Have the pool's folders; QEMU must be able to pass through them."""
    root = paths.pool_root(request.path)
    if not request.begin and not (root / "volumes").is_dir() and not sharing.read_mark(root):
        raise known.not_mounted(root, "it is not there any more")
    _refuse_dangling(root)
    refuse_read_only(root)
    above = [folder for folder in reversed(root.parents) if folder == paths.STATE or not folder.exists()]
    for folder in (*above, root, *(root / name for name in paths.POOL_FOLDERS)):
        _let_pass(folder)
    sharing.make_mark(root)
    return _state(root)


def _refuse_dangling(root: Path) -> None:
    """Raise NotMounted where a symbolic link on the way to the pool or to one of its folders leads nowhere."""
    for folder in (*reversed(root.parents), root, *(root / name for name in paths.POOL_FOLDERS)):
        if folder.is_symlink() and not folder.exists():
            raise known.not_mounted(root, f"{folder} leads to {os.readlink(folder)}, which is not there")


def _let_pass(folder: Path) -> None:
    """The folder is there, and QEMU, which need not be root, passes through it: the agent's umask may forbid it."""
    folder.mkdir(exist_ok=True, mode=0o711)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o011 != 0o011:
        folder.chmod(mode | 0o011)


@handles(storage.PoolInfo)
def pool_info(request: storage.PoolInfo, job: Job) -> storage.PoolState:
    """Read a pool's room."""
    root = paths.pool_root(request.path)
    if not root.is_dir():
        raise InvalidParams("There is no pool at this path.", field="path")
    return _state(root)


@handles(storage.PoolRemove)
def pool_remove(request: storage.PoolRemove, job: Job) -> Nothing:
    """Remove the pool unless it holds a volume or seed; what is not ours is left, and then the folder too."""
    root = paths.pool_root(request.path)
    for name in ("volumes", "seeds"):
        if (root / name).is_dir() and any((root / name).iterdir()):
            raise InUse(f"The pool still has {name}.")
    images = root / "images"
    if images.is_dir():
        for pattern in ("*.img", "*.upload"):
            for file in images.glob(pattern):
                file.unlink()
    sharing.remove_marks(root)
    for folder in (*(root / name for name in paths.POOL_FOLDERS), root):
        with contextlib.suppress(FileNotFoundError, OSError):
            folder.rmdir()
    return Nothing()


@handles(storage.PoolList)
def pool_list(request: storage.PoolList, job: Job) -> storage.PoolFiles:
    """List the pool's files by folder."""
    root = paths.pool_root(request.path)
    files = {
        name: sorted(entry.name for entry in (root / name).iterdir()) if (root / name).is_dir() else []
        for name in paths.POOL_FOLDERS
    }
    sizes = {name: size for name in files["volumes"] if (size := _size(root / "volumes" / name)) is not None}
    return storage.PoolFiles(files=files, sizes=sizes)


def _size(volume: Path) -> Optional[storage.VolumeSize]:
    """A volume's sizes, read without a program: a pool may hold hundreds. None for what is no file, or is gone."""
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
    return storage.VolumeSize(file_bytes=size, qcow2_bytes=virtual)


def _state(root: Path) -> storage.PoolState:
    room = os.statvfs(root)
    return storage.PoolState(
        path=str(root),
        capacity_bytes=room.f_blocks * room.f_frsize,
        free_bytes=room.f_bavail * room.f_frsize,
        reflink=not _is_read_only(root) and _can_clone(root),
        mark=sharing.read_mark(root),
        devices=known.devices(root, paths.DISKS_BY_UUID),
        read_only=_is_read_only(root),
    )


def refuse_read_only(root: Path) -> None:
    """Raise ReadOnly where nothing can be written to the pool."""
    if root.is_dir() and _is_read_only(root):
        raise ReadOnly(f"The file system of the storage at {root} is mounted read-only.")


def _is_read_only(root: Path) -> bool:
    return bool(os.statvfs(root).f_flag & os.ST_RDONLY)


def _can_clone(root: Path) -> bool:
    with tempfile.TemporaryFile(dir=root) as source, tempfile.TemporaryFile(dir=root) as target:
        source.write(b"\0" * 4096)
        source.flush()
        return clone(source.fileno(), target.fileno())


def clone(source: int, target: int) -> bool:
    """Make the file `target` a clone of `source` by reference; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True
