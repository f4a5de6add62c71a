"""References to pools and volumes, for tests that think in paths."""

from __future__ import annotations

from nodeagent import storage as storages
from nodeagent.protocol import storage


def directory(path: str) -> storage.PoolRef:
    """The pool that is the folder at the path: the one of all tests, or another."""
    name = "local" if path.endswith("/pool") else path.rpartition("/")[2]
    return storage.PoolRef(storage.DIRECTORY, name, {"path": path})


def ref(path: str) -> storage.VolumeRef:
    """What is at the path, in one of the folders of a directory pool; elsewhere it is no pool's."""
    root, folder, name = [*path.rsplit("/", 2), "", ""][:3]
    if folder == "volumes":
        return storage.VolumeRef(directory(root), name)
    return storage.file_ref(directory(root), folder, name) if folder in ("seeds", "images") else storages.at(path)
