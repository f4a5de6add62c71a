"""Holding a guest's file systems still for a moment, and never for longer.

Before a guest is told to freeze, a note in /run/vmpanel/frozen bears its UUID; it goes when the guest has thawed, and
is locked while somebody holds the guest still. A note that nobody has locked is that of an agent which died in between:
every agent thaws what such notes name when it begins, and so does whoever copies next.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from typing import IO, Any, Iterator, Optional

from nodeagent import guest_agent, libvirtd, paths
from nodeagent.errors import AgentError, NoSuchDomain

FREEZE_SECONDS = 15
"""A guest writes out first what it has in its memory."""
THAW_SECONDS = 30.0
POLL_SECONDS = 0.25
log = logging.getLogger("nodeagent")


@contextlib.contextmanager
def held_still(domain: Any) -> Iterator[bool]:
    """Run the block while nothing writes to the file systems of the running guest, if its agent can see to that.

    Yields whether it does. The guest has thawed when the block is left. Raises libvirtError when it would not: then
    the note stays, and thaw_left() tries again.
    """
    if not _can_freeze(domain):
        yield False
        return
    uuid = domain.UUIDString()
    paths.FROZEN.mkdir(parents=True, exist_ok=True)
    note = paths.FROZEN / uuid
    with note.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield _freeze(domain)
        finally:
            _thaw(domain)
            note.unlink()


def thaw_left() -> None:
    """No guest is frozen by an agent that died, or that could not thaw it then; raises AgentError."""
    with contextlib.suppress(FileNotFoundError):
        for note in paths.FROZEN.iterdir():
            with contextlib.suppress(FileNotFoundError), note.open("r+") as file:
                if _lock(file):
                    _thaw_by_uuid(note.name)
                    note.unlink()


def thaw_left_soon() -> None:
    """The same, beside whatever else the agent begins with."""
    try:
        there = any(paths.FROZEN.iterdir())
    except FileNotFoundError:
        return
    if there:
        threading.Thread(target=_thaw_quietly, daemon=True).start()


def _thaw_quietly() -> None:
    try:
        thaw_left()
    except AgentError as error:
        log.warning("a guest that an agent left frozen could not be thawed: %s", error.message)


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _can_freeze(domain: Any) -> bool:
    """Whether the guest's agent answers and may freeze: its administrator can forbid it every command."""
    if not guest_agent.answers(domain):
        return False
    told = guest_agent.ask(domain, "guest-info", {})["supported_commands"]
    may = {each["name"] for each in told if each["enabled"]}
    return {"guest-fsfreeze-freeze", "guest-fsfreeze-thaw"} <= may


def _freeze(domain: Any) -> bool:
    """Whether the guest says that it is frozen. One that does not may be so all the same, when it was slow."""
    libvirt = libvirtd.bindings()
    try:
        guest_agent.ask(domain, "guest-fsfreeze-freeze", {}, FREEZE_SECONDS)
    except libvirt.libvirtError as error:
        log.info("%s could not be frozen: %s", domain.name(), error)
        return False
    return True


def _thaw(domain: Any) -> None:
    libvirt = libvirtd.bindings()
    until = time.monotonic() + THAW_SECONDS
    while True:
        failed: Optional[Exception] = None
        try:
            guest_agent.ask(domain, "guest-fsfreeze-thaw", {})
            return
        except libvirt.libvirtError as error:
            failed = error
        # With the guest its being frozen has ended.
        if not domain.isActive() or _is_thawed(domain):
            return
        if time.monotonic() > until:
            raise failed
        time.sleep(POLL_SECONDS)


def _is_thawed(domain: Any) -> bool:
    """Whether the guest says so."""
    libvirt = libvirtd.bindings()
    try:
        return bool(guest_agent.ask(domain, "guest-fsfreeze-status", {}) == "thawed")
    except libvirt.libvirtError:
        return False


def _thaw_by_uuid(uuid: str) -> None:
    with contextlib.suppress(NoSuchDomain), libvirtd.translated() as conn:
        domain = conn.lookupByUUIDString(uuid)
        if domain.isActive():
            _thaw(domain)
