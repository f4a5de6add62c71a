"""Running other programs: argument lists only, one function."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import Dict, Optional, Sequence

from nodeagent.errors import CommandFailed, NoSpace
from nodeagent.job import Job

STDERR_TAIL = 2000
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Finished:
    """What a program left: its exit code and its output as text."""

    exit_code: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    job: Job,
    *,
    stdin: Optional[str] = None,
    check: bool = True,
    env: Optional[Dict[str, str]] = None,
) -> Finished:
    """Run a program to its end, in the C locale, without a shell.

    The program and all its children are killed when the job is cancelled or its deadline passes.
    A secret goes in by `stdin`, never in `argv`.

    Raises CommandFailed (if `check`), NoSpace when the program says so, Cancelled, DeadlinePassed.
    """
    job.check()
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"The program “{argv[0]}” is not installed.", argv0=argv[0], exit_code=127) from error
    watcher = threading.Thread(target=_kill_when_over, args=(process, job), daemon=True)
    watcher.start()
    out, err = process.communicate(stdin.encode() if stdin is not None else None)
    watcher.join()
    job.check()
    finished = Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    if check and finished.exit_code != 0:
        _fail(argv[0], finished)
    return finished


def _kill_when_over(process: subprocess.Popen[bytes], job: Job) -> None:
    while process.poll() is None:
        if job.stopped.wait(POLL_SECONDS) or job.remaining() <= 0:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return


def _fail(program: str, finished: Finished) -> None:
    tail = finished.stderr.strip()[-STDERR_TAIL:]
    if "No space left on device" in tail:
        raise NoSpace(f"{os.path.basename(program)}: no space left on the node.", argv0=program)
    last = tail.splitlines()[-1] if tail else "no message"
    raise CommandFailed(
        f"{os.path.basename(program)} ended with {finished.exit_code}: {last}",
        argv0=program,
        exit_code=finished.exit_code,
        stderr=tail,
    )
