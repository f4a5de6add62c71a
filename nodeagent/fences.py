"""Only the present holder of a task may change this node.

For each task a file keeps the highest fence number seen and which agent works for it; a lock on the
file is held while a command of that task runs. A request with a lower number is refused. One that
finds the lock taken ends whoever has it, a command of this agent or another agent: a task has one
worker at a time, so that one is dead, cut off, or has lost the task. What cannot be ended, a call that
libvirt is carrying out, keeps the lock, and its agent, until it is over: else what it makes would be
there when the successor has looked for it and removed it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import IO, Dict, Iterator, Optional

from nodeagent import paths
from nodeagent.errors import FencedOff, StillWorking
from nodeagent.job import Job
from nodeagent.protocol import Fence

KEEP_SECONDS = 7 * 24 * 3600.0
HANDOVER_SECONDS = 15.0
FREE_SECONDS = 0.05

_jobs: Dict[int, Job] = {}
_jobs_lock = threading.Lock()


@contextlib.contextmanager
def held(fence: Optional[Fence], job: Job, folder: Optional[Path] = None) -> Iterator[None]:
    """Run the block as the holder that `fence` names; without a fence, just run it.

    Raises FencedOff for a number below one seen, StillWorking when the one who works for the task does not let go,
    Cancelled and DeadlinePassed when the request is over before its turn came: whoever cancelled it may have undone it.
    """
    if fence is None:
        yield
        return
    folder = folder or paths.FENCES
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{int(fence.task)}.json"
    with open(path, "a+", encoding="ascii") as file:
        _lock(file, path, fence, job)
        _refuse_late(path, fence)
        job.check()
        _write(path, {"number": fence.number, "pid": os.getpid()})
        with _jobs_lock:
            _jobs[fence.task] = job
        try:
            yield
        finally:
            with _jobs_lock:
                _jobs.pop(fence.task, None)
            fcntl.flock(file, fcntl.LOCK_UN)


def wait_until_free() -> None:
    """Return when no command of this agent holds a fence."""
    while _jobs:
        time.sleep(FREE_SECONDS)


def _refuse_late(path: Path, fence: Fence) -> Dict[str, int]:
    seen = _read(path)
    if fence.number < seen.get("number", 0):
        raise FencedOff(f"Task {fence.task} is held by a later worker.", seen=seen["number"])
    return seen


def _lock(file: IO[str], path: Path, fence: Fence, job: Job) -> None:
    until = time.monotonic() + HANDOVER_SECONDS
    ended = set()
    while True:
        seen = _refuse_late(path, fence)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                text = f"An earlier command of task {fence.task} still runs on the node, and libvirt does not end it."
                raise StillWorking(text) from None
        holder = seen.get("pid")
        if holder == os.getpid():
            _stop_own(fence.task)
        elif holder is not None and holder not in ended:
            ended.add(holder)
            _end_agent(holder)
        job.wait(0.05)


def _stop_own(task: int) -> None:
    with _jobs_lock:
        other = _jobs.get(task)
    if other is not None:
        other.stopped.set()


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
    # In place: the lock is on this inode. The text is padded so that one write replaces the longer one before.
    with open(path, "r+", encoding="ascii") as file:
        file.write(json.dumps(value).ljust(80))


def purge(folder: Optional[Path] = None) -> None:
    """Remove the files of tasks that nobody has worked on for a week."""
    before = time.time() - KEEP_SECONDS
    with contextlib.suppress(FileNotFoundError):
        for path in (folder or paths.FENCES).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
