"""Files that callers send: written beside their place, hashed on the way, and gone again unless they are kept.

What they are is said elsewhere (isos.py). An account sends one file at a time, so that what is on the way can never
take more of the disk than one file may have.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from django.conf import settings

from panel.core.errors import CapacityError, InvalidValue, WrongState

FOLDER = "isos"
"""Below the folder of images, which has what administrators put there by hand."""
BLOCK = 1024 * 1024
RESERVE_BYTES = 1024**3
"""What uploads leave free on the panel's disk."""


class Stream(Protocol):
    """A body as it arrives; OSError where the client is gone."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class Part:
    """A file on its way."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file
        self.size, self.kept = 0, False
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what has arrived."""
        return self._digest.hexdigest()

    def add(self, block: bytes) -> None:
        """Write it; raises CapacityError for a full disk."""
        if shutil.disk_usage(self.path.parent).free < len(block) + RESERVE_BYTES:
            raise _full()
        try:
            self.file.write(block)
        except OSError as error:
            raise _full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error from error
        self._digest.update(block)
        self.size += len(block)

    def keep(self, path: Path) -> None:
        """The file is at `path`, whole, whatever happens to the machine."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.rename(self.path, path)
        self.kept = True


def folder() -> Path:
    """Where files are that callers have sent; made when it is not there."""
    found: Path = Path(settings.CONFIG.images_dir) / FOLDER
    found.mkdir(parents=True, exist_ok=True)
    return found


def blocks(stream: Stream) -> Iterator[bytes]:
    """What arrives; raises InvalidValue where the client is gone."""
    try:
        while block := stream.read(BLOCK):
            yield block
    except OSError as error:
        raise InvalidValue("The upload broke off.", field="body") from error


@contextmanager
def part_of(user_id: int) -> Iterator[Part]:
    """A file for what the user sends, gone at the end unless it was kept.

    Raises WrongState while another of the user's is on its way.
    """
    path = folder() / f"{user_id}.part"
    file = _held(path)
    if file is None:
        raise WrongState("Another upload of yours is under way.", object="upload", id=user_id, state="under way")
    with file:
        part = Part(path, file)
        try:
            yield part
        finally:
            if not part.kept:
                path.unlink(missing_ok=True)


def drop_abandoned() -> None:
    """Delete what is left of uploads whose process was killed."""
    for path in folder().glob("*.part"):
        if (file := _held(path)) is not None:
            with file:
                path.unlink(missing_ok=True)


def _held(path: Path) -> IO[bytes] | None:
    """The file, empty, with the lock that ends with the process; None while another has it."""
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            # Whoever held it has just deleted or kept it.
            pass
        file.close()


def _full() -> CapacityError:
    return CapacityError("The panel's disk has no room for it.", field="body", candidates={})
