"""Where the agent keeps things on a node, and the rules for names and paths from outside."""

from __future__ import annotations

import contextlib
import os
import re
import uuid as uuids
from pathlib import Path

from nodeagent import known
from nodeagent.errors import InvalidParams

ROOT = Path(os.environ.get("VMPANEL_NODE_ROOT", "/"))
"""Before all of the agent's own files; the tests give each agent a folder of its own."""
LIB = ROOT / "usr/lib/vmpanel"
AGENT = LIB / "nodeagent.pyz"
VMWATCH = LIB / "vmwatch.pyz"
ETC = ROOT / "etc/vmpanel"
STATE = ROOT / "var/lib/vmpanel"
LOG = ROOT / "var/log/vmpanel"
RUN = ROOT / "run/vmpanel"
FENCES = RUN / "fences"
MIGRATIONS = RUN / "migrations"
FROZEN = RUN / "frozen"
LIBVIRT_FACTS = RUN / "libvirt-facts.json"
LIBVIRT_RUN = ROOT / "run/libvirt"

OVERRIDES = ETC / "commands"
VMWATCH_CONF = ETC / "vmwatch-node.conf"
BRIDGES = STATE / "bridges.json"
GUARDS = STATE / "guards.json"
FORWARDING = STATE / "forwarding.json"
MARKER = STATE / "node.json"
NVRAM = ROOT / "var/lib/libvirt/qemu/nvram"
"""libvirt's own folder for what guests' UEFI remembers; its security drivers know it."""
NVRAM_END = "_VARS.fd"

POOL_FOLDERS = known.FOLDERS
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
DISKS_BY_UUID = ROOT / "dev/disk/by-uuid"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def with_system_folders(path: str) -> str:
    """A PATH in which every program of the system is found, whatever it was before."""
    there = [folder for folder in path.split(os.pathsep) if folder]
    return os.pathsep.join([*there, *(folder for folder in SYSTEM_FOLDERS if folder not in there)])


def pool_root(path: str) -> Path:
    """The pool's folder, as every command that touches a pool asks for it.

    Raises InvalidParams for one that cannot be a pool, NotMounted for one that is not the pool that the panel knows.
    """
    root = Path(path)
    if not root.is_absolute() or ".." in root.parts or len(root.parts) < 3:
        raise InvalidParams("A pool must be an absolute path of at least two folders.", field="path")
    known.check(root, DISKS_BY_UUID)
    return root


def nvram_file(uuid: str) -> Path:
    """What a domain's UEFI remembers."""
    try:
        return NVRAM / f"{uuids.UUID(uuid)}{NVRAM_END}"
    except ValueError as error:
        raise InvalidParams("This is not a UUID.", field="uuid") from error


def inside(pool: str, path: str) -> Path:
    """`path`, which must lie in one of the pool's folders, symbolic links followed; else InvalidParams."""
    root = pool_root(pool)
    real = Path(os.path.realpath(path))
    if real.parent not in [Path(os.path.realpath(root / folder)) for folder in POOL_FOLDERS]:
        raise InvalidParams("The path does not lie in a folder of the pool.", field="path")
    return real


def remove_file(path: Path) -> None:
    """The file is not there. One that was not is no error, on a file system that is mounted read-only either."""
    if os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def image_file(pool: str, sha256: str) -> Path:
    """The pool's copy of an image."""
    if not _SHA256.match(sha256):
        raise InvalidParams("This is not a SHA-256.", field="sha256")
    return pool_root(pool) / "images" / f"{sha256}.img"


def upload_file(pool: str, sha256: str, task: int) -> Path:
    """Where a task uploads the image to before it is checked; two that send the same one do not meet there."""
    return image_file(pool, sha256).with_suffix(f".{int(task)}.upload")
