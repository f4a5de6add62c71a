"""Whether libvirt answers, and what it says of QEMU and of its host: two questions, and the second is slow.

A libvirt that takes its knowledge of QEMU for stale looks at QEMU for seconds before it tells of it. So its facts are
asked once in the life of a libvirtd, for the QEMU that is installed, and remembered in a file, for the agents of later
conversations too. No answer in time is neither "it does not run" nor "it has none": the answer is still to come.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import Future
from pathlib import Path
from typing import Callable, Dict, Generic, Optional, TypeVar

from nodeagent import libvirtd, paths, services
from nodeagent.errors import CommandFailed, DeadlinePassed, LibvirtError
from nodeagent.job import Job
from nodeagent.probe import find_emulator
from nodeagent.protocol.node import ANSWERS, OFF, SILENT

ANSWER_SECONDS = 10.0
"""How long the cheap call may take; with a libvirtd that is well it takes milliseconds."""
SLOW_SECONDS = 10.0
"""Facts that took longer are asked again by whoever has time for it: what made them slow may have passed."""
DAEMONS = ("libvirtd", "virtqemud")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Look:
    """What the cheap call showed: it ANSWERS, is OFF (no daemon runs), or is SILENT (one runs and did not answer)."""

    state: str
    version: Optional[int] = None
    text: str = ""


@dataclasses.dataclass(frozen=True)
class LibvirtFacts:
    """libvirt's slow answers: the <host> of its capabilities, QEMU's version (0: the test driver has none)."""

    host: str
    qemu_version: int
    copies_running: bool
    seconds: float
    """How long it took to tell all this."""

    @property
    def host_uuid(self) -> Optional[str]:
        """The host's UUID."""
        return ET.fromstring(self.host).findtext("uuid")

    @property
    def cpu(self) -> str:
        """The host's CPU as libvirt compares it with another's."""
        cpu = ET.fromstring(self.host).find("cpu")
        return "" if cpu is None else ET.tostring(cpu, encoding="unicode")


class _Question(Generic[T]):
    """Asked once at a time, however many wait for the answer: a libvirt that hangs keeps one thread."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._open: Optional[Future[T]] = None
        self._lock = threading.Lock()

    def begin(self) -> Future[T]:
        """Have it asked, unless it is being asked."""
        with self._lock:
            if self._open is None or self._open.done():
                self._open = libvirtd.begin(self._ask)
            return self._open

    def answer(self, seconds: float, job: Job) -> T:
        """As libvirtd.answer_within()."""
        return libvirtd.wait_for(self.begin(), seconds, job)


def look(job: Job) -> Look:
    """Whether libvirt answers now."""
    try:
        return Look(ANSWERS, _version.answer(ANSWER_SECONDS, job))
    except DeadlinePassed as error:
        job.check()
        return Look(SILENT, text=error.message)
    except CommandFailed as error:
        return Look(OFF, text=error.message)
    except LibvirtError as error:
        # Refused by one that runs (too many clients, a wrong login) is not off.
        return Look(OFF if _daemon() is None else SILENT, text=error.message)


def ask(job: Job, seconds: Optional[float] = None) -> LibvirtFacts:
    """libvirt's facts, from memory or from itself; raises DeadlinePassed when it takes longer than `seconds`.

    It is not disturbed then: what it says at last is remembered for whoever asks next.
    """
    known = remembered()
    if known is None:
        return _facts.answer(job.remaining() if seconds is None else seconds, job)
    if known.seconds <= SLOW_SECONDS or seconds is None:
        return known
    try:
        return _facts.answer(seconds, job)
    except (DeadlinePassed, LibvirtError):
        job.check()
        return known


def remembered() -> Optional[LibvirtFacts]:
    """What this very libvirtd said of this very QEMU; None where it was not asked yet."""
    key = _key()
    if key is None:
        return None
    try:
        told = json.loads(paths.LIBVIRT_FACTS.read_text(encoding="utf-8"))
        return LibvirtFacts(**told["facts"]) if told["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ask_version() -> int:
    with libvirtd.translated() as conn:
        # A connection takes itself for alive until somebody uses it.
        return int(conn.getLibVersion())


def _ask_facts() -> LibvirtFacts:
    began, key = time.monotonic(), _key()
    with libvirtd.translated() as conn:
        host = ET.fromstring(conn.getCapabilities()).find("host")
        facts = LibvirtFacts(
            host="<host/>" if host is None else ET.tostring(host, encoding="unicode"),
            qemu_version=0 if libvirtd.is_test_driver() else int(conn.getVersion()),
            copies_running=libvirtd.copies_running(conn),
            seconds=round(time.monotonic() - began, 1),
        )
    if key is not None and key == _key():
        _remember(key, facts)
    return facts


def _remember(key: Dict[str, str], facts: LibvirtFacts) -> None:
    partial = Path(f"{paths.LIBVIRT_FACTS}.{secrets.token_hex(4)}.part")
    with contextlib.suppress(OSError):
        # Not remembered is asked again.
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"key": key, "facts": dataclasses.asdict(facts)}), encoding="utf-8")
        partial.rename(paths.LIBVIRT_FACTS)


def _key() -> Optional[Dict[str, str]]:
    """Of which daemon and which QEMU facts are; None where no daemon of libvirt's runs."""
    daemon = _daemon()
    if daemon is None:
        return None
    emulator = find_emulator()
    qemu = os.stat(emulator) if emulator is not None else None
    return {
        "daemon": daemon,
        "qemu": f"{emulator} {qemu.st_mtime_ns} {qemu.st_size}" if qemu is not None else "",
    }


def _daemon() -> Optional[str]:
    """libvirt's daemon as its process id and start; None where none runs (or waits for its socket's first caller)."""
    for name in DAEMONS:
        with contextlib.suppress(OSError, ValueError):
            pid = int((paths.ROOT / "run" / f"{name}.pid").read_text(encoding="ascii"))
            started = services.started(pid)
            if started is not None and Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == name:
                return f"{pid} {started}"
    return None


_version: _Question[int] = _Question(_ask_version)
_facts: _Question[LibvirtFacts] = _Question(_ask_facts)
