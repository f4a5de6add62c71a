"""Files of a node that are no volumes: its copies of images and ISO images, and seeds.

They lie in folders of the directory that a pool is, where there is one; no driver of volumes touches them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List

from nodeagent import paths
from nodeagent.errors import InUse, InvalidParams

IMAGES, SEEDS = FOLDERS = ("images", "seeds")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class FileStore:
    """The files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, sha256: str) -> Path:
        """The copy of an image."""
        if not _SHA256.match(sha256):
            raise InvalidParams("This is not a SHA-256.", field="sha256")
        return self.root / IMAGES / f"{sha256}.img"

    def upload(self, sha256: str, task: int) -> Path:
        """Where a task uploads the image to before it is checked; two that send the same one do not meet there."""
        return self.image(sha256).with_suffix(f".{int(task)}.upload")

    def images(self) -> List[Path]:
        """All copies of images that are whole."""
        return list((self.root / IMAGES).glob("*.img"))

    def names(self) -> Dict[str, List[str]]:
        """The names of all files by folder, unfinished ones included."""
        return {name: list_names(self.root / name) for name in FOLDERS}

    def remove(self) -> None:
        """Remove the copies of images; raises InUse where there is a seed."""
        if list_names(self.root / SEEDS):
            raise InUse("The pool still has seeds.")
        for pattern in ("*.img", "*.upload"):
            for file in (self.root / IMAGES).glob(pattern):
                paths.remove_file(file)


def list_names(folder: Path) -> List[str]:
    """The names in the folder; none where there is no folder."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def inside(folder: Path, path: str) -> Path:
    """`path`, which must lie right in the folder, symbolic links followed; else InvalidParams."""
    real = Path(os.path.realpath(path))
    if real.parent != Path(os.path.realpath(folder)):
        raise InvalidParams("The path does not lie in a folder of the pool.", field="volume")
    return real
