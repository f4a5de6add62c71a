"""Holding a guest's file systems still for a moment, and never for longer.

Before a guest is told to freeze, a note in /run/vmpanel/frozen bears its UUID; it goes when the guest has thawed, and
is locked while somebody freezes or thaws the guest. A note that nobody has locked is that of an agent which died in
between: every agent thaws what such notes name when it begins, and so does whoever copies the same guest's disks next.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

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
    paths.FROZEN.mkdir(parents=True, exist_ok=True)
    with locked(paths.FROZEN / domain.UUIDString(), "w") as note:
        try:
            yield _freeze(domain)
        finally:
            _thaw(domain)
            note.unlink()


def thaw_left(domain: Any) -> None:
    """The guest is not frozen by an agent that died, or that could not thaw it then; raises libvirtError.

    No other guest is waited for: its owner can have it answer late, or never.
    """
    with contextlib.suppress(FileNotFoundError), locked(paths.FROZEN / domain.UUIDString(), "r+") as note:
        if domain.isActive():
            _thaw(domain)
        note.unlink()


def thaw_left_soon() -> None:
    """The same of all guests, beside whatever else the agent begins with."""
    notes = sorted(paths.FROZEN.glob("*"))
    if notes:
        threading.Thread(target=_thaw_noted, args=(notes,), daemon=True).start()


def _thaw_noted(notes: Sequence[Path]) -> None:
    for note in notes:
        try:
            with libvirtd.translated() as conn:
                thaw_left(conn.lookupByUUIDString(note.name))
        except NoSuchDomain:
            with contextlib.suppress(FileNotFoundError):
                note.unlink()
        except AgentError as error:
            log.warning("%s could not be thawed, which an agent left frozen: %s", note.name, error.message)


@contextlib.contextmanager
def locked(note: Path, mode: str) -> Iterator[Path]:
    """Nobody else has the note meanwhile; raises FileNotFoundError for one that must be there and is not."""
    while True:
        with note.open(mode) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it before may have removed it: then what is locked here is no note any more.
            if os.fstat(file.fileno()).st_nlink:
                yield note
                return


def _can_freeze(domain: Any) -> bool:
    """Whether the guest's agent answers and may freeze: its administrator can forbid it every command."""
    libvirt = libvirtd.bindings()
    if not guest_agent.answers(domain):
        return False
    try:
        told = guest_agent.ask(domain, "guest-info", {})["supported_commands"]
        may = {each["name"] for each in told if each["enabled"]}
    except (libvirt.libvirtError, KeyError, TypeError, ValueError) as error:
        # What answers is the guest's owner's, who may have it say anything.
        log.info("%s does not say whether it can freeze: %r", domain.name(), error)
        return False
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
