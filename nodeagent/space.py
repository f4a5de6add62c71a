"""How a full disk is told: where, and how much is free there."""

from __future__ import annotations

import os
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
    found = {}
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, path, kind, options = line.split()[:4]
        # One that is mounted twice is told where it is mounted first.
        if kind not in _KINDS or "ro" in options.split(",") or (kind != "tmpfs" and device in found):
            continue
        try:
            room = os.statvfs(path)
        except OSError:
            continue
        free = room.f_bavail * room.f_frsize
        if free < LEAST_BYTES <= room.f_blocks * room.f_frsize or (room.f_files and not room.f_favail):
            kept = "has no inode free" if free >= LEAST_BYTES else f"has {free // MIB} MiB free"
            found[path if kind == "tmpfs" else device] = f"{path} {kept}"
    return sorted(found.values())
