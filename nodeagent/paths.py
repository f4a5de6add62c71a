"""Where the agent keeps things on a node, and the rules for names and paths from outside."""

from __future__ import annotations

import contextlib
import os
import uuid as uuids
from pathlib import Path

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
STORAGE_KINDS = ETC / "storage"
NETWORK_KINDS = ETC / "network"
VMWATCH_CONF = ETC / "vmwatch-node.conf"
BRIDGES = STATE / "bridges.json"
HOST_LINKS = STATE / "host-links.json"
UPLINKS = STATE / "uplinks.json"
GUEST_ROUTES = STATE / "guest-routes.json"
KERNEL_SETTINGS = STATE / "kernel-settings.json"
FILTERS = STATE / "guards.json"
PORTS = STATE / "ports.json"
FORWARDING = STATE / "forwarding.json"
MARKER = STATE / "node.json"
NVRAM = ROOT / "var/lib/libvirt/qemu/nvram"
"""libvirt's own folder for what guests' UEFI remembers; its security drivers know it."""
NVRAM_END = "_VARS.fd"

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
DISKS_BY_UUID = ROOT / "dev/disk/by-uuid"


def with_system_folders(path: str) -> str:
    """A PATH in which every program of the system is found, whatever it was before."""
    there = [folder for folder in path.split(os.pathsep) if folder]
    return os.pathsep.join([*there, *(folder for folder in SYSTEM_FOLDERS if folder not in there)])


def nvram_file(uuid: str) -> Path:
    """What a domain's UEFI remembers."""
    try:
        return NVRAM / f"{uuids.UUID(uuid)}{NVRAM_END}"
    except ValueError as error:
        raise InvalidParams("This is not a UUID.", field="uuid") from error


def remove_file(path: Path) -> None:
    """The file is not there. One that was not is no error, on a file system that is mounted read-only either."""
    if os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
