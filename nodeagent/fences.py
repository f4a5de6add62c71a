"""Only the present holder of a task may change this node.

For each task a file keeps the highest fence number seen and which agent works for it; a lock on the
file is held while a command of that task runs. A request with a lower number is refused. One with a
higher number ends the agent that still works under the older one: its worker is dead or has lost
the task.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import IO, Dict, Iterator, Optional

from nodeagent import paths
from nodeagent.errors import FencedOff, InUse
from nodeagent.job import Job
from nodeagent.protocol import Fence

KEEP_SECONDS = 7 * 24 * 3600.0
HANDOVER_SECONDS = 15.0


@contextlib.contextmanager
def held(fence: Optional[Fence], job: Job, folder: Optional[Path] = None) -> Iterator[None]:
    """Run the block as the holder that `fence` names; without a fence, just run it.

    Raises FencedOff for a number below one seen, InUse when an older agent does not let go.
    """
    if fence is None:
        yield
        return
    folder = folder or paths.FENCES
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{int(fence.task)}.json"
    with open(path, "a+", encoding="ascii") as file:
        seen = _refuse_late(path, fence)
        if fence.number > seen.get("number", 0) and seen.get("pid") not in (None, os.getpid()):
            _end_agent(seen["pid"])
        _lock(file, fence, job)
        try:
            _refuse_late(path, fence)
            _write(path, {"number": fence.number, "pid": os.getpid()})
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _refuse_late(path: Path, fence: Fence) -> Dict[str, int]:
    seen = _read(path)
    if fence.number < seen.get("number", 0):
        raise FencedOff(f"Task {fence.task} is held by a later worker.", seen=seen["number"])
    return seen


def _lock(file: IO[str], fence: Fence, job: Job) -> None:
    until = time.monotonic() + HANDOVER_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise InUse(f"Another agent still works on task {fence.task}.") from None
            job.wait(0.05)


def _end_agent(pid: int) -> None:
    """End the agent `pid`, if it is one: a pid may have been given to another program since."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return
    if b"nodeagent" in command:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _read(path: Path) -> Dict[str, int]:
    try:
        return dict(json.loads(path.read_text(encoding="ascii") or "{}"))
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, value: Dict[str, int]) -> None:
    # In place: the lock is on this inode, and a torn write reads as "nothing seen", which only admits.
    with open(path, "r+", encoding="ascii") as file:
        file.seek(0)
        file.write(json.dumps(value))
        file.truncate()


def purge(folder: Optional[Path] = None) -> None:
    """Remove the files of tasks that nobody has worked on for a week."""
    before = time.time() - KEEP_SECONDS
    with contextlib.suppress(FileNotFoundError):
        for path in (folder or paths.FENCES).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
