"""Storages: one driver a kind. Commands ask here for a pool's driver, and know of no kind by name.

A driver is a class in a module of this package that is entered in DRIVERS; driver.py says what it must do. Volumes are
named, and only the driver knows where they are. What is no volume (images, ISO images, seeds) is in a FileStore.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Dict, Tuple, Type

from nodeagent.storage.directory import Directory
from nodeagent.storage.driver import Driver
from nodeagent.storage.files import FOLDERS, FileStore

DRIVERS: Dict[str, Type[Driver]] = {Directory.KIND: Directory}
"""The classes by their kinds."""


def driver(path: str) -> Driver:
    """The driver of the pool; raises InvalidParams, and NotMounted for one that is not what the panel knows."""
    return Directory(path)


def volume(pool: str, path: str) -> Tuple[Driver, str]:
    """The driver of the pool and the volume's name there; raises InvalidParams for a path of no volume."""
    folder = PurePosixPath(path).parent.name
    # A seed is moved from node to node as volumes are.
    found = Directory(pool, folder) if folder in FOLDERS else Directory(pool)
    return found, found.name_of_path(path)


def files(pool: str) -> FileStore:
    """Where the files are that are no volumes."""
    return Directory(pool).files


__all__ = ["DRIVERS", "Driver", "FileStore", "driver", "files", "volume"]
