"""Storages: one driver a kind. Commands ask here for a pool's driver, and know of no kind by name.

A driver is a class in a module here that register() enters in DRIVERS: driver.py says what it must do. Volumes are
named, and only the driver knows where they are. What is no volume (images, ISO images, seeds) is in a FileStore.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from typing import Iterable, Optional, Tuple

from nodeagent import overrides, paths
from nodeagent.errors import InvalidParams
from nodeagent.protocol.storage import NO_POOL, PoolRef, VolumeRef
from nodeagent.storage.driver import DRIVERS, Driver, register
from nodeagent.storage.files import FileStore
from nodeagent.xml.source import DiskSource

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def load_own(folder: Optional[Path] = None) -> None:
    """Have the kinds of the administrator's too: each *.py in /etc/vmpanel/storage registers one.

    One that cannot be used is logged, and storages of its kind are refused.
    """
    overrides.load_kinds(folder or paths.STORAGE_KINDS, "storage")


def of(pool: PoolRef) -> Driver:
    """The driver of the pool, which nobody has looked at; raises InvalidParams for a kind that is not known."""
    if pool.kind not in DRIVERS:
        raise InvalidParams(f"This node knows no storages of the kind “{pool.kind}”.", field="pool")
    return DRIVERS[pool.kind](pool)


def driver(pool: PoolRef) -> Driver:
    """The driver of the pool; raises InvalidParams, and NotMounted for one that is not what the panel knows."""
    found = of(pool)
    found.check()
    return found


def volume(ref: VolumeRef) -> Tuple[Driver, str]:
    """The driver of the volume's pool, and the volume's name there; raises as driver()."""
    refuse(ref)
    return driver(ref.pool), ref.name


def refuse(ref: VolumeRef) -> None:
    """Raise InvalidParams for what can be no volume, whatever there is; asks nobody."""
    of(ref.pool).refuse_options()
    if "/" in ref.name or "\0" in ref.name or ref.name in ("", ".", ".."):
        raise InvalidParams("This is not a volume's name.", field="volume")


def source(ref: VolumeRef) -> DiskSource:
    """Where the volume is, in libvirt's terms; asks nobody."""
    if ref.pool == NO_POOL:
        return DiskSource("file", {"file": ref.name})
    return of(ref.pool).source(ref.name)


def place(ref: VolumeRef) -> str:
    """Where the volume is, in one line; asks nobody. "" for none."""
    return source(ref).place if ref else ""


def named(pools: Iterable[PoolRef], place: str) -> Optional[VolumeRef]:
    """The volume at this place in one of the pools, by the names alone; None for another place."""
    for pool in pools:
        name = of(pool).name_at(place)
        if name:
            return VolumeRef(pool, name)
    return None


def at(place: str) -> VolumeRef:
    """What is at this place, whatever it is: a reference to no volume of a pool."""
    return VolumeRef(NO_POOL, place)


def is_at(found: Optional[DiskSource], ref: VolumeRef) -> bool:
    """Whether a disk's source is this volume, symbolic links followed."""
    if found is None:
        return False
    return os.path.realpath(found.place) == os.path.realpath(place(ref))


def exists(ref: VolumeRef) -> bool:
    """Whether the volume, or what is named by its place, is there."""
    if ref.pool == NO_POOL:
        return Path(ref.name).exists()
    pool, name = volume(ref)
    return pool.exists(name)


def files(store: PoolRef) -> FileStore:
    """Where the files are that are no volumes; raises as driver()."""
    found = driver(store)
    if found.files is None:
        raise InvalidParams(f"Files do not lie in storages of the kind “{store.kind}”.", field="store")
    return found.files


__all__ = [
    "DRIVERS",
    "Driver",
    "FileStore",
    "at",
    "driver",
    "exists",
    "files",
    "is_at",
    "load_own",
    "named",
    "of",
    "place",
    "refuse",
    "register",
    "source",
    "volume",
]
