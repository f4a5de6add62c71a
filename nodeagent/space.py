"""How a full disk is told: where, and how much is free there."""

from __future__ import annotations

from pathlib import Path
from typing import List

MIB = 1024**2
LEAST_BYTES = 16 * MIB
_KINDS = ("ext4", "ext3", "xfs", "btrfs", "overlay", "zfs", "nfs", "nfs4", "tmpfs")


def sentence() -> str:
    """There is no space left, and on which mounted file systems there is next to none."""
    full = _full()
    return f"There is no space left on the node{': ' if full else ''}{', '.join(full)}."


def _full() -> List[str]:
    # The driver runs programs, and their failure is told by us.
    from nodeagent.storage.directory import space_of

    found = {}
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, path, kind, options = line.split()[:4]
        # One that is mounted twice is told where it is mounted first.
        if kind not in _KINDS or "ro" in options.split(",") or (kind != "tmpfs" and device in found):
            continue
        try:
            space = space_of(Path(path))
        except OSError:
            continue
        free = space.free_bytes
        if free < LEAST_BYTES <= space.capacity_bytes or space.files == 0:
            kept = "has no inode free" if free >= LEAST_BYTES else f"has {free // MIB} MiB free"
            found[path if kind == "tmpfs" else device] = f"{path} {kept}"
    return sorted(found.values())
