"""Who has a file: domains of this node that name it or build upon it, and whoever has it open, here or elsewhere.

What somebody has is never deleted, whatever the panel believes. A file's own chain is read from its headers, without
a program: a node may have hundreds.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional, Set, Tuple

from nodeagent import libvirtd
from nodeagent.errors import InUse
from nodeagent.job import Job
from nodeagent.protocol.storage import VolumeUse
from nodeagent.run import run
from nodeagent.xml import source
from nodeagent.xml.domain import Disk, Domain

QCOW2_MAGIC = b"QFI\xfb"
BACKING_FORMAT = 0xE2792ACA
"""The header extension that says what the file is that this one builds upon (QEMU's docs/interop/qcow2.txt)."""
LET_GO_SECONDS = 3.0
"""How long what is being ended may take to let go of a file."""
POLL_SECONDS = 0.1


def uses(conn: Any) -> List[VolumeUse]:
    """Every file that a domain has, as it runs or as it is described, and every file that one of those builds upon."""
    libvirt = libvirtd.bindings()
    found: Set[VolumeUse] = set()
    for domain in conn.listAllDomains():
        try:
            told = (domain.UUIDString(), domain.name())
            for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
                for disk in Domain.parse(domain.XMLDesc(flags)).disks:
                    found.update(_of_disk(disk, *told))
        except libvirt.libvirtError as error:
            # It went while we looked.
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return sorted(found, key=lambda each: (each.place, each.uuid, each.target, each.backing))


def _of_disk(disk: Disk, uuid: str, name: str) -> Iterator[VolumeUse]:
    own = disk.source
    if own is None:
        return
    found = (source.read("file", node) for node in disk.node.iter("source"))
    below = {each.place for each in found if each is not None} - {own.place}
    if disk.device != "cdrom" and own.file:
        below |= set(chain(own.file, disk.driver_type or "raw"))
    for place, backing in [(own.place, False), *((each, True) for each in below)]:
        yield VolumeUse(place, uuid, name, disk.target_dev or "", backing)


def chain(path: str, kind: str) -> List[str]:
    """The files that this one builds upon. Only headers that no guest can write are believed: none of a raw disk."""
    found: List[str] = []
    while kind in ("qcow2", ""):
        below = _backing(path)
        if below is None or below[0] in found:
            break
        path, kind = below
        found.append(path)
    return found


def _backing(path: str) -> Optional[Tuple[str, str]]:
    """What a qcow2 file builds upon, and its format, "" where none is told; None for nothing, or no such file."""
    try:
        with open(path, "rb") as file:
            header = file.read(104)
            if header[:4] != QCOW2_MAGIC:
                return None
            version, at, size = (int.from_bytes(header[a:b], "big") for a, b in ((4, 8), (8, 16), (16, 20)))
            if not at or size > 1023:
                return None
            file.seek(at)
            name = file.read(size).decode(errors="replace")
            file.seek(int.from_bytes(header[100:104], "big") if version > 2 else 72)
            kind = _extension(file.read(at))
    except OSError:
        return None
    return os.path.join(os.path.dirname(path), _file_named(name)), kind


def _extension(data: bytes) -> str:
    place = 0
    while place + 8 <= len(data):
        kind, size = (int.from_bytes(data[place + a : place + a + 4], "big") for a in (0, 4))
        if not kind:
            break
        if kind == BACKING_FORMAT:
            return data[place + 8 : place + 8 + size].decode(errors="replace")
        place += 8 + -(-size // 8) * 8
    return ""


def _file_named(name: str) -> str:
    """The path in a name that may be one of QEMU's "json:" or "file:"."""
    if name.startswith("json:"):
        try:
            told = json.loads(name[5:])
        except ValueError:
            return name
        told = told.get("file", told)
        return str(told.get("filename", name)) if isinstance(told, dict) else name
    return name[5:] if name.startswith("file:") else name


def refuse_named(place: str) -> None:
    """Raise InUse for what a domain has or builds upon, by its place alone: who has it open cannot be asked."""
    with libvirtd.translated() as conn:
        of_place = [each for each in uses(conn) if each.place == place]
    if of_place:
        raise InUse(f"{_told(place, of_place[0])} It is not deleted.", domain=of_place[0].domain)


def refuse_used(file: Path, job: Job) -> None:
    """Raise InUse for a file that a domain names or builds upon, or that somebody has open; for what deletes it."""
    if not file.exists():
        return
    with libvirtd.translated() as conn:
        of_file = [each for each in uses(conn) if os.path.realpath(each.place) == str(file)]
    if of_file:
        raise InUse(f"{_told(file.name, of_file[0])} It is not deleted.", domain=of_file[0].domain)
    until = time.monotonic() + LET_GO_SECONDS
    while (holder := _open_by(file, job)) is not None:
        if time.monotonic() > until:
            raise InUse(f"{holder} has “{file.name}” open. It is not deleted.")
        job.wait(POLL_SECONDS)


def refuse_built_upon(file: Path) -> None:
    """Raise InUse for a file that a domain's disk builds upon: what writes to it would break that disk."""
    with libvirtd.translated() as conn:
        upon = [each for each in uses(conn) if each.backing and os.path.realpath(each.place) == str(file)]
    if upon:
        raise InUse(f"{_told(file.name, upon[0])} It is not changed.", domain=upon[0].domain)


def _told(name: str, use: VolumeUse) -> str:
    how = "what the disk {} of the domain “{}” builds upon" if use.backing else "the disk {} of the domain “{}”"
    return f"“{name}” is {how.format(use.target, use.domain)}."


def _open_by(file: Path, job: Job) -> Optional[str]:
    """Who has the file open, for people; None for nobody that can be seen."""
    try:
        there = file.stat()
    except FileNotFoundError:
        return None
    for pid, found in _open_files():
        if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):
            return f"The process {pid} ({_program(pid)})"
    # A guest of another node, on a storage that both see: QEMU locks what it writes to.
    done = run(["qemu-img", "info", "-f", "raw", str(file)], job, check=False)
    return "A guest of another host" if done.exit_code and "lock" in done.stderr else None


def _open_files() -> Iterator[Tuple[int, os.stat_result]]:
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        yield from ((pid, found) for found in _of_process(pid))


def _of_process(pid: int) -> Iterable[os.stat_result]:
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.stat(f"/proc/{pid}/fd/{name}"))
            except OSError:
                continue
    except OSError:
        # It ended, or is none of ours to look at.
        pass
    return found


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
