"""Starting libvirtd, and why it does not start in its own words: within seconds, not when all patience is over."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import List, Optional

from nodeagent import libvirtd, paths, services
from nodeagent.errors import AgentError, DeadlinePassed, InvalidParams, LibvirtError
from nodeagent.job import Job
from nodeagent.run import run

NAME = "vmpanel-libvirtd"
WATCH_SECONDS = 20.0
ANSWER_SECONDS = 2.0
MOST_ENDS = 2
"""It may end once for another that was just ending; who ends again will not start."""
MOST_WORDS = 300
AGAIN_SECONDS = 4.0
"""One that cannot start is started again each second, and ends soon after."""
TAIL_BYTES = 4096
_ERROR = re.compile(r": error : \S+ : (.*)$")
_PREFIX = re.compile(r"^\d{4}-\S+ \S+ \d+: ")
_CONSEQUENCES = ("Driver state initialization failed", "Initialization of ", "internal error: Failed to initialize ")
"""How libvirtd says at last that it ends for the reason that it told before."""


def start(job: Job) -> None:
    """Have libvirtd started; returns when it answers, or still runs without an answer after a while.

    Raises LibvirtError with its last words where it ends instead.
    """
    if services.has_systemd():
        done = run(["systemctl", "enable", "--now", "libvirtd.service"], job, check=False)
        if done.exit_code:
            raise _failed(_journal(job) or done.stderr.splitlines())
        return
    log = paths.LOG / f"{NAME}.out"
    before = log.stat().st_size if log.exists() else 0
    for name in ("virtlogd", "libvirtd"):
        services.start(f"vmpanel-{name}", [shutil.which(name) or f"/usr/sbin/{name}"], job)
    until, ends = time.monotonic() + WATCH_SECONDS, services.Ends(NAME)
    while time.monotonic() < until and not _runs(job):
        if ends.count() >= MOST_ENDS:
            raise _failed(_since(log, before))
        job.wait(0.2)


def restart(job: Job) -> Optional[int]:
    """Have libvirtd running anew, which leaves its guests alone; answers its process id.

    Raises InvalidParams for one that nobody would start again, LibvirtError for one that does not come back.
    """
    if services.has_systemd():
        done = run(["systemctl", "restart", "libvirtd.service"], job, check=False)
        if done.exit_code:
            raise _failed(_journal(job) or done.stderr.splitlines())
        return services.running("libvirtd", job)
    if not services.is_kept(NAME, job):
        raise InvalidParams("Nobody keeps libvirtd running on the node: it would stay away.", field="service")
    before = services.end(NAME, job)
    until = time.monotonic() + WATCH_SECONDS
    while (pid := services.pid_of(NAME)) in (None, before):
        if time.monotonic() > until:
            raise LibvirtError("libvirtd does not come back.", libvirt_code=0, connection_lost=True)
        job.wait(0.05)
    return pid


def refuse_ending(job: Job) -> None:
    """Raise LibvirtError with its last words where the libvirtd that we keep ends again and again, and so is silent."""
    if services.has_systemd() or not services.is_kept(NAME, job):
        return
    until, ends = time.monotonic() + AGAIN_SECONDS, services.Ends(NAME)
    while time.monotonic() < until:
        if ends.count():
            log = paths.LOG / f"{NAME}.out"
            raise _failed(_since(log, max(0, log.stat().st_size - TAIL_BYTES)))
        job.wait(0.1)


def _runs(job: Job) -> bool:
    """Whether it answers, or takes its time for that."""
    try:
        libvirtd.answer_within(ANSWER_SECONDS, _ask, job)
        return True
    except DeadlinePassed:
        job.check()
        return True
    except AgentError:
        job.check()
        return False


def _ask() -> None:
    with libvirtd.translated() as conn:
        # A connection takes itself for alive until somebody uses it.
        conn.getLibVersion()


def _failed(lines: List[str]) -> LibvirtError:
    said = last_words(lines)
    words = f" It says: “{said}”." if said else " It says nothing; try it by hand on the node."
    return LibvirtError(f"libvirtd does not start.{words}", libvirt_code=0, connection_lost=False)


def last_words(lines: List[str]) -> str:
    """The reason among what it printed: its last error that is no consequence of another, else its last line."""
    errors = [match.group(1) for match in map(_ERROR.search, lines) if match]
    reasons = [each for each in errors if not each.startswith(_CONSEQUENCES)]
    plain = [_PREFIX.sub("", line).strip() for line in lines if line.strip()]
    return next(iter([*reversed(reasons), *reversed(plain)]), "")[:MOST_WORDS]


def _since(log: Path, before: int) -> List[str]:
    with log.open("rb") as file:
        file.seek(before)
        return file.read().decode(errors="replace").splitlines()


def _journal(job: Job) -> List[str]:
    if shutil.which("journalctl") is None:
        return []
    argv = ["journalctl", "-u", "libvirtd.service", "-n", "30", "-o", "cat", "--no-pager"]
    return [line for line in run(argv, job, check=False).stdout.splitlines() if "systemd" not in line]
