"""A kind of storage for tests: volumes are in the memory of whoever serves them. All that a node needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent import holders
from nodeagent.errors import Exists, InUse, InvalidParams, NotMounted, Unsupported
from nodeagent.job import Job
from nodeagent.protocol.storage import PoolState, VolumeSize, VolumeState
from nodeagent.storage import register
from nodeagent.storage.driver import Driver, image_info
from nodeagent.xml.source import DiskSource

CAPACITY = 100 * 1024**3


@dataclass
class Cell:
    """What a pool has."""

    volumes: dict[str, VolumeState] = field(default_factory=dict)
    signs: set[str] = field(default_factory=set)


CELLS: dict[str, Cell] = {}


@register
class Memory(Driver):
    """A pool, by the option `cell`."""

    KIND = "memory"

    @property
    def where(self) -> str:
        """Its cell."""
        return f"memory {self._name}"

    @property
    def _name(self) -> str:
        return self.pool.options.get("cell", "")

    @property
    def _cell(self) -> Cell:
        if self._name not in CELLS:
            raise InvalidParams("There is no such pool.", field="pool")
        return CELLS[self._name]

    def source(self, name: str) -> DiskSource:
        """Like a network storage's."""
        return DiskSource("network", {"protocol": "rbd", "name": f"{self._name}/{name}"})

    def name_at(self, place: str) -> str | None:
        """What source() says, the other way round."""
        before, after = self.source("|").place.split("|")
        found = place[len(before) : len(place) - len(after)]
        return found if place == f"{before}{found}{after}" and found and "/" not in found else None

    def refuse_options(self) -> None:
        """A cell has a name."""
        if not self._name.isalnum():
            raise InvalidParams("A cell is named by letters and digits.", field="cell")

    def ensure(self, begin: bool) -> PoolState:
        """Nothing is lost but with the process."""
        if not begin and self._name not in CELLS:
            raise NotMounted(f"The storage at {self.where} is not mounted: it is not there any more.", path=self.where)
        CELLS.setdefault(self._name, Cell())
        return self.state()

    def state(self) -> PoolState:
        """What all volumes leave."""
        return PoolState(CAPACITY, CAPACITY - sum(each.virtual_bytes for each in self._cell.volumes.values()), False)

    def free_bytes(self) -> int | None:
        """The same."""
        return self.state().free_bytes if self._name in CELLS else None

    def remove(self) -> None:
        """The cell is gone."""
        if self._name in CELLS and self._cell.volumes:
            raise InUse("The pool still has volumes.")
        CELLS.pop(self._name, None)

    def volumes(self) -> dict[str, VolumeSize | None]:
        """All of them; they have no files."""
        sizes = self._cell.volumes if self._name in CELLS else {}
        return {
            name: VolumeSize(each.virtual_bytes, each.virtual_bytes if each.format == "qcow2" else 0)
            for name, each in sizes.items()
        }

    def put_sign(self, sign: str) -> None:
        """It is kept."""
        self._cell.signs.add(sign)

    def take_sign(self, sign: str) -> None:
        """It is not."""
        self._cell.signs.discard(sign)

    def has_sign(self, sign: str) -> bool:
        """Whether it is."""
        return self._name in CELLS and sign in self._cell.signs

    def image(self, name: str) -> str:
        """QEMU's programs find nothing there."""
        return f"rbd:{self._name}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a volume."""
        return name in self._cell.volumes

    @contextmanager
    def making(self, name: str) -> Iterator[str]:
        """Volumes are made at once."""
        raise Unsupported("Nothing is made here by programs.")
        yield name

    def copy(self, source: Path, target: str, job: Job) -> bool:
        """Nothing has bytes."""
        return False

    def delete(self, name: str, job: Job) -> None:
        """What a domain has stays."""
        if self.exists(name):
            holders.refuse_named(self.source(name).place)
        self._cell.volumes.pop(name, None)

    def info(self, name: str, kind: str, job: Job) -> VolumeState:
        """What is known of it."""
        return self._cell.volumes.get(name, VolumeState(exists=False))

    def create(self, name: str, size_bytes: int, kind: str, job: Job) -> VolumeState:
        """A volume of this size."""
        self.check_format(kind)
        found = self._cell.volumes.setdefault(name, VolumeState(True, kind, size_bytes, size_bytes))
        if found.virtual_bytes != size_bytes:
            raise Exists("A volume of another size is there already.", virtual_bytes=found.virtual_bytes)
        return found

    def fill(self, name: str, kind: str, image: Path, image_kind: str, job: Job) -> VolumeState:
        """As large as the image."""
        if self.exists(name):
            return self.info(name, kind, job)
        return self.create(name, int(image_info(str(image), image_kind, job)["virtual-size"]), kind, job)

    def clone(self, name: str, kind: str, source: Driver, source_name: str, job: Job) -> VolumeState:
        """As large as the source."""
        self.check_format(kind)
        if not source.exists(source_name):
            raise InvalidParams("There is no such volume.", field="source")
        if self.exists(name):
            return self.info(name, kind, job)
        return self.create(name, source.info(source_name, kind, job).virtual_bytes, kind, job)

    def grow(self, name: str, size_bytes: int, kind: str, job: Job) -> VolumeState:
        """A volume that is as large at least."""
        if not self.exists(name):
            raise InvalidParams("There is no such volume.", field="volume")
        larger = max(size_bytes, self._cell.volumes[name].virtual_bytes)
        self._cell.volumes[name] = VolumeState(True, kind, larger, larger)
        return self._cell.volumes[name]
