"""The kind “directory”: volumes are files in a folder of the same path on every node, its own or mounted there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import Field

from nodeagent.protocol.storage import DIRECTORY, PoolRef
from panel.core.errors import InvalidValue
from panel.core.validation import Params
from panel.storage.kinds.kind import Can, Kind, Options, register

DEFAULT_PATH = "/var/lib/vmpanel/pool"
_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*){2,}\Z")


class DirectoryOptions(Params):
    """Where it is."""

    path: str = Field(
        max_length=255,
        description="A folder, the same on every node. Each node makes it at its next check; what is to be mounted "
        "there is mounted before.",
    )


@register
class DirectoryKind(Kind):
    """A folder."""

    name = DIRECTORY
    label = "Directory"
    options = DirectoryOptions
    can = frozenset({Can.SNAPSHOTS, Can.GROW_LIVE, Can.THIN, Can.CLONE_BY_REFERENCE, Can.COPY_LIVE})

    def checked(self, options: Mapping[str, object]) -> dict[str, str]:
        """An absolute path of at least two folders."""
        path = super().checked(options)["path"].rstrip("/")
        if not _PATH.match(path):
            raise InvalidValue("A storage is an absolute path of at least two folders.", field="path")
        return {"path": path}

    def can_in(self, form: str) -> frozenset[Can]:
        """Snapshots are inside a qcow2 file: a raw one has none."""
        return self.can if form == "qcow2" else self.can - {Can.SNAPSHOTS}

    def clash(self, options: Options, other: Options) -> str:
        """One lies in the other."""
        one, two = PurePosixPath(options["path"]), PurePosixPath(other["path"])
        return "path" if one.is_relative_to(two) or two.is_relative_to(one) else ""

    def store(self, pool: PoolRef) -> PoolRef:
        """Beside its volumes: what is copied from there is cloned by reference where the file system can."""
        return pool
