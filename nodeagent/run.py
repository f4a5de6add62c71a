"""Running other programs: argument lists only, one function."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, Callable, Dict, List, Optional, Sequence, Tuple

from nodeagent import space
from nodeagent.errors import AgentError, CommandFailed, NoSpace, ReadOnly
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
    watch: Optional[Callable[[str], None]] = None,
) -> Finished:
    """Run a program to its end, in the C locale, without a shell.

    The program and all its children are killed when the job is cancelled or its deadline passes; the
    program also when the agent dies (SIGKILL), so that it cannot write beside the agent's successor.
    A secret goes in by `stdin`, never in `argv`. `watch` is shown what the program has printed so far.

    Raises CommandFailed (if `check`), NoSpace and ReadOnly when the program says so, Cancelled, DeadlinePassed.
    """
    job.check()
    if shutil.which(argv[0]) is None:
        raise CommandFailed(f"The program “{argv[0]}” is not installed.", argv0=argv[0], exit_code=127)
    with _source(stdin) as source:
        process = subprocess.Popen(
            [*dying_with_us(), *argv],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
        )
    try:
        out, err = _communicate(process, job, watch)
    except BaseException:
        _kill(process)
        raise
    finished = Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    if check and finished.exit_code != 0:
        raise failed(argv[0], finished)
    return finished


def run_detached(argv: Sequence[str], job: Job, *, env: Optional[Dict[str, str]] = None) -> Finished:
    """Run a program that must not be ended half-way: where the job must end, it is left to itself.

    Raises CommandFailed where it is not installed, Cancelled, DeadlinePassed.
    """
    job.check()
    if shutil.which(argv[0]) is None:
        raise CommandFailed(f"The program “{argv[0]}” is not installed.", argv0=argv[0], exit_code=127)
    # Files, not pipes, whose end would be the program's.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
            cwd="/",
        )
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
                break
            job.check()
        return Finished(process.returncode, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _source(stdin: Optional[str]) -> IO[bytes]:
    """What the program reads. A file in memory: communicate() cannot go on filling a pipe after a pause."""
    if stdin is None:
        return open(os.devnull, "rb")
    file = os.fdopen(os.memfd_create("stdin"), "w+b")
    file.write(stdin.encode())
    file.seek(0)
    return file


def _communicate(
    process: subprocess.Popen[bytes], job: Job, watch: Optional[Callable[[str], None]]
) -> Tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired as early:
            job.check()
            if watch is not None:
                watch((early.output or b"").decode(errors="replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def dying_with_us() -> List[str]:
    """What stands before a program's argument list so that it dies with the thread that starts it."""
    # util-linux's setpriv asks the kernel for it and then becomes the program; a preexec_fn is unsafe beside threads.
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def failed(program: str, finished: Finished) -> AgentError:
    """The error for a program that ended with another exit code than 0."""
    tail = finished.stderr.strip()[-STDERR_TAIL:]
    if "No space left on device" in tail:
        return NoSpace(f"{os.path.basename(program)}: {space.sentence()}", argv0=program)
    if "Read-only file system" in tail:
        return ReadOnly(f"{os.path.basename(program)}: the file system is mounted read-only.", argv0=program)
    last = tail.splitlines()[-1] if tail else "no message"
    return CommandFailed(
        f"{os.path.basename(program)} ended with {finished.exit_code}: {last}",
        argv0=program,
        exit_code=finished.exit_code,
        stderr=tail,
    )
