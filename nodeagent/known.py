"""Whether what is at a pool's path is the pool that the panel knows there.

A pool whose file system is not mounted looks like an empty folder, or like an old copy of itself: whatever were
written there would be hidden by the next mount. The panel sends with each request what its pools were last seen to be
(protocol.storage.KnownPool); the directory driver asks here before any command touches one.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional

from nodeagent import sharing
from nodeagent.errors import NotMounted
from nodeagent.protocol.storage import KnownPool

FOLDERS = ("images", "volumes", "seeds")
OTHER = "other"
"""A folder's file system that is not the pool's and has no UUID that we know."""
_pools: contextvars.ContextVar[Mapping[str, KnownPool]] = contextvars.ContextVar("pools")


@contextlib.contextmanager
def told(pools: Mapping[str, KnownPool]) -> Iterator[None]:
    """What the panel knows, for as long as its request is carried out."""
    token = _pools.set(pools)
    try:
        yield
    finally:
        _pools.reset(token)


def check(name: str, root: Path, by_uuid: Path) -> None:
    """Raise NotMounted where what is at `root` is not what the panel knows as the pool of this name."""
    known = _pools.get({}).get(name)
    if known is None or not known.mark:
        return
    mark = sharing.read_mark(root)
    if not mark:
        raise not_mounted(root, "its mark is gone")
    if mark != known.mark:
        raise not_mounted(root, "another one is in its place, with a mark of its own")
    if known.devices is not None and (reason := _differs(known.devices, devices(root, by_uuid))):
        raise not_mounted(root, reason)


def not_mounted(root: Path, reason: str) -> NotMounted:
    """The error for a pool that is not there."""
    return NotMounted(f"The storage at {root} is not mounted: {reason}.", path=str(root))


def devices(root: Path, by_uuid: Path) -> Dict[str, str]:
    """The pool's file systems, as a KnownPool has them; `by_uuid` is udev's folder of them."""
    own = os.stat(root).st_dev
    uuid = _uuid(own, by_uuid)
    found = {"": uuid} if uuid else {}
    for name in FOLDERS:
        with contextlib.suppress(FileNotFoundError):
            device = os.stat(root / name).st_dev
            if device != own:
                found[name] = _uuid(device, by_uuid) or OTHER
    return found


def _uuid(device: int, by_uuid: Path) -> str:
    """The UUID of a file system on a disk; "" for others, and where udev does not say."""
    with contextlib.suppress(OSError):
        for entry in by_uuid.iterdir():
            with contextlib.suppress(OSError):
                if entry.stat().st_rdev == device:
                    return entry.name
    return ""


def _differs(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is otherwise than before, of what is known of both; "" for nothing."""
    for name in FOLDERS:
        if name in before and name not in now:
            return f"its folder “{name}” is not on the file system of its own that it was on"
        if name in now and name not in before:
            return f"another file system is mounted on its folder “{name}”"
    for name in before.keys() & now.keys():
        if before[name] != now[name] and OTHER not in (before[name], now[name]):
            what = f"its folder “{name}”" if name else "it"
            return f"{what} is on the file system {now[name]}, and was on {before[name]}"
    return ""


def from_message(data: Optional[Mapping[str, object]]) -> Dict[str, KnownPool]:
    """What a request's line says of the pools; raises BadMessage."""
    from nodeagent.protocol import BadMessage, from_dict

    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadMessage("pools", "must be an object")
    return {name: from_dict(KnownPool, known, f"pools.{name}") for name, known in data.items()}
