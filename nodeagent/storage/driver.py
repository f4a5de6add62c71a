"""What a kind of storage can do: the interface that every driver has, and what is the same for all of them.

A driver is one pool. Its volumes are known by name; where one is, is the driver's own affair: others ask it what QEMU's
programs open (image()). QEMU reads and writes every kind, so most of what follows is done by its programs.
"""

from __future__ import annotations

import abc
import json
from pathlib import Path
from typing import Any, ClassVar, ContextManager, Dict, Optional, Tuple, Type

from nodeagent.errors import CommandFailed, Exists, InUse, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol.storage import PoolRef, PoolState, VolumeSize, VolumeState
from nodeagent.run import run
from nodeagent.storage.files import FileStore
from nodeagent.xml.source import DiskSource


class Driver(abc.ABC):
    """A pool of one kind."""

    KIND: ClassVar[str]
    FORMATS: ClassVar[Tuple[str, ...]] = ("qcow2", "raw")

    files: Optional[FileStore] = None
    """Where files lie beside the volumes, of a storage that can be a file store."""

    def __init__(self, pool: PoolRef) -> None:
        self.pool = pool

    # Where it is: these ask nobody, and raise nothing.

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where the pool is, in one line, for people."""

    @abc.abstractmethod
    def source(self, name: str) -> DiskSource:
        """The volume in libvirt's terms."""

    @abc.abstractmethod
    def name_at(self, place: str) -> Optional[str]:
        """The name of the volume whose source's place is this; None for a place that is none of this pool's."""

    # The pool.

    @abc.abstractmethod
    def refuse_options(self) -> None:
        """Raise InvalidParams for options that name no pool; looks at nothing else."""

    def check(self) -> None:
        """Raise what refuse_options() does, and NotMounted for a pool that is not what the panel knows."""
        self.refuse_options()

    @abc.abstractmethod
    def ensure(self, begin: bool) -> PoolState:
        """Have the pool; without `begin` it must be there already, else NotMounted."""

    @abc.abstractmethod
    def state(self) -> PoolState:
        """Its size and free space; raises InvalidParams where it is not there."""

    @abc.abstractmethod
    def free_bytes(self) -> Optional[int]:
        """How much can be written to it; None where it is not on this node."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Remove the empty pool; raises InUse for one that holds a volume."""

    @abc.abstractmethod
    def volumes(self) -> Dict[str, Optional[VolumeSize]]:
        """What lies among the volumes, unfinished ones too, with sizes; None for what is no volume, or is gone."""

    def refuse_read_only(self) -> None:  # noqa: B027 - most cannot be mounted so
        """Raise ReadOnly where nothing can be written to the pool."""

    @abc.abstractmethod
    def put_sign(self, sign: str) -> None:
        """Have the sign there for another node that may see the same pool."""

    @abc.abstractmethod
    def take_sign(self, sign: str) -> None:
        """The sign is not there."""

    @abc.abstractmethod
    def has_sign(self, sign: str) -> bool:
        """Whether another node's sign is seen."""

    # A volume.

    @abc.abstractmethod
    def image(self, name: str) -> str:
        """What QEMU's programs open; raises InvalidParams for a name that is none."""

    @abc.abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the volume is there, finished."""

    @abc.abstractmethod
    def making(self, name: str) -> ContextManager[str]:
        """What is made under the name that is given becomes the volume at the end; nothing is left where that fails."""

    @abc.abstractmethod
    def delete(self, name: str, job: Job) -> None:
        """Remove the volume and what is unfinished of it; absent is success. Raises InUse for one that somebody has."""

    @abc.abstractmethod
    def copy(self, source: Path, target: str, job: Job) -> bool:
        """Copy a file's bytes to what making() gave; False where only QEMU's programs can."""

    def refuse_built_upon(self, name: str) -> None:  # noqa: B027 - only files are built upon
        """Raise InUse for a volume that a domain's disk builds upon: what writes to it would break that disk."""

    def file_of(self, name: str) -> Optional[Path]:
        """The volume as a file of the node; None where it is none."""
        return None

    def keep_private(self, name: str) -> None:  # noqa: B027 - most have nothing that others could read
        """Nobody but root reads the volume until a domain has it: what is received into it may be a secret."""

    def check_format(self, kind: str) -> None:
        """Raise InvalidParams for a format that volumes of this storage cannot have."""
        if kind not in self.FORMATS:
            raise InvalidParams(f"A volume's format is {' or '.join(self.FORMATS)}.", field="format")

    def info(self, name: str, kind: str, job: Job) -> VolumeState:
        """Read the volume; "" for the format that it looks like."""
        if kind:
            self.check_format(kind)
        image = self.image(name)
        if not self.exists(name):
            return VolumeState(exists=False)
        try:
            info = image_info(image, kind, job)
        except CommandFailed:
            if not self.exists(name):
                return VolumeState(exists=False)
            raise
        return VolumeState(True, str(info["format"]), int(info["virtual-size"]), int(info["actual-size"]))

    def create(self, name: str, size_bytes: int, kind: str, job: Job) -> VolumeState:
        """Make an empty volume; one of this size is success, of another size Exists."""
        self.check_format(kind)
        if self.exists(name):
            state = self.info(name, kind, job)
            if state.virtual_bytes != size_bytes:
                raise Exists("A volume of another size is there already.", virtual_bytes=state.virtual_bytes)
            return state
        with self.making(name) as partial:
            run(["qemu-img", "create", "-q", "-f", kind, partial, str(int(size_bytes))], job)
        return self.info(name, kind, job)

    def fill(self, name: str, kind: str, image: Path, image_kind: str, job: Job) -> VolumeState:
        """Make the volume from an image of the node's; one that is there is finished."""
        if not self.exists(name):
            with self.making(name) as partial:
                if image_kind != kind or not self.copy(image, partial, job):
                    run(["qemu-img", "convert", "-f", image_kind, "-O", kind, str(image), partial], job)
        return self.info(name, kind, job)

    def clone(self, name: str, kind: str, source: Driver, source_name: str, job: Job) -> VolumeState:
        """Make the volume from another that nothing writes to, without its snapshots; one that is there is finished."""
        self.check_format(kind)
        if self.exists(name):
            return self.info(name, kind, job)
        if not source.exists(source_name):
            raise InvalidParams("There is no such volume.", field="source")
        with self.making(name) as partial:
            info = unused_info(source.image(source_name), kind, job)
            file = None if info.get("snapshots") or info.get("backing-filename") else source.file_of(source_name)
            if file is None or not self.copy(file, partial, job):
                run(["qemu-img", "convert", "-f", kind, "-O", kind, source.image(source_name), partial], job)
        return self.info(name, kind, job)

    def grow(self, name: str, size_bytes: int, kind: str, job: Job) -> VolumeState:
        """Grow the volume; a larger one is left as it is."""
        self.check_format(kind)
        state = self.info(name, kind, job)
        if not state.exists:
            raise InvalidParams("There is no such volume.", field="volume")
        if state.virtual_bytes < size_bytes:
            self.refuse_built_upon(name)
            run(["qemu-img", "resize", "-q", "-f", kind, self.image(name), str(int(size_bytes))], job)
            state = self.info(name, kind, job)
        return state


def image_info(image: str, kind: str, job: Job) -> Dict[str, Any]:
    """Read what is of this format; "" for the one that it looks like, of which only an image's may be believed."""
    # -U: a running guest holds its volume's lock, and reading its size does no harm.
    out = run(["qemu-img", "info", "-U", *(["-f", kind] if kind else []), "--output=json", image], job).stdout
    return dict(json.loads(out))


def unused_info(image: str, kind: str, job: Job) -> Dict[str, Any]:
    """The same of a volume, and refuse one that a QEMU holds."""
    done = run(["qemu-img", "info", "-f", kind, "--output=json", image], job, check=False)
    if done.exit_code and "lock" in done.stderr:
        raise InUse("A running guest holds the volume.")
    return dict(json.loads(done.stdout)) if not done.exit_code else image_info(image, kind, job)


DRIVERS: Dict[str, Type[Driver]] = {}
"""The drivers by their kinds."""


def register(driver: Type[Driver]) -> Type[Driver]:
    """Class decorator: have storages of the driver's kind."""
    DRIVERS[driver.KIND] = driver
    return driver


__all__ = ["DRIVERS", "Driver", "image_info", "register", "unused_info"]
