"""The two programs that the panel puts on a node, each as one file (a zipapp)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from pathlib import Path

import panel
from panel.cluster.porter import Porter

AGENT_PATH = "/usr/lib/vmpanel/nodeagent.pyz"
VMWATCH_PATH = "/usr/lib/vmpanel/vmwatch.pyz"
ROOT = Path(panel.__file__).resolve().parent.parent
# One moment for all files, so that the same sources give the same bytes.
_EPOCH = (2020, 1, 1, 0, 0, 0)


@lru_cache
def build(package: str, main: str) -> bytes:
    """A zipapp of a top-level package whose entry is `main` ("package.module:function")."""
    module, _, function = main.partition(":")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), entry)
        for path in sorted((ROOT / package).rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(ROOT)), _EPOCH), path.read_bytes())
    return memory.getvalue()


def files() -> dict[str, bytes]:
    """What a node has of ours, by path."""
    return {
        AGENT_PATH: build("nodeagent", "nodeagent.server:main"),
        VMWATCH_PATH: build("vmwatch", "vmwatch.node:main"),
    }


def bring(porter: Porter) -> list[str]:
    """The node has the panel's programs; answers the paths of those that it lacked or had otherwise.

    What runs already goes on: an agent until its conversation ends, vmwatch-node until it is configured.

    Raises NodeRefused where a file cannot be written (a full disk, for one).
    """
    wanted = files()
    there = porter.hashes(*wanted)
    replaced = []
    for path, content in wanted.items():
        if there[path] != hashlib.sha256(content).hexdigest():
            porter.put(content, path, 0o755)
            replaced.append(path)
    return replaced
