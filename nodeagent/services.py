"""Services on a node: systemd's where it runs, else kept by a small keeper of our own.

The keeper is a process that starts the service, starts it again when it ends, and ends with it on
SIGTERM. It leaves the ssh session that made it, so it outlives the conversation.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional, Sequence

from nodeagent import paths
from nodeagent.job import Job
from nodeagent.run import run

SYSTEMD = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")
RESTART_SECONDS = 1.0
STOP_SECONDS = 10.0


def has_systemd() -> bool:
    """Whether systemd runs this node."""
    return SYSTEMD.is_dir()


def pid_of(name: str) -> Optional[int]:
    """The process id of the service itself, None when it does not run."""
    return _alive(_read(_file(name, "pid")))


def start(name: str, argv: Sequence[str], job: Job) -> None:
    """Have the service running under the keeper (or systemd, with a unit of ours); a running one is left."""
    if has_systemd():
        _write_unit(name, argv)
        run(["systemctl", "daemon-reload"], job)
        run(["systemctl", "enable", "--now", f"{name}.service"], job)
        return
    if _alive(_read(_file(name, "keeper"))) is None:
        _keep(name, list(argv))
    until = time.monotonic() + STOP_SECONDS
    while pid_of(name) is None and time.monotonic() < until:
        job.wait(0.05)


def running(name: str, job: Job) -> Optional[int]:
    """The service's process id, None when it does not run."""
    if not has_systemd():
        return pid_of(name)
    shown = run(["systemctl", "show", "-p", "MainPID", "--value", f"{name}.service"], job, check=False)
    pid = shown.stdout.strip()
    return int(pid) if pid.isdigit() and pid != "0" else None


def stop(name: str, job: Job) -> None:
    """Have the service stopped and not coming back; one that is unknown is success."""
    if has_systemd():
        run(["systemctl", "disable", "--now", f"{name}.service"], job, check=False)
        with contextlib.suppress(FileNotFoundError):
            (UNITS / f"{name}.service").unlink()
        run(["systemctl", "daemon-reload"], job)
        return
    for kind in ("keeper", "pid"):
        pid = _alive(_read(_file(name, kind)))
        if pid is not None:
            _end(pid, job)
        with contextlib.suppress(FileNotFoundError):
            _file(name, kind).unlink()


def restart(name: str, argv: Sequence[str], job: Job) -> None:
    """Have the service running anew, with what its configuration says now."""
    if has_systemd():
        start(name, argv, job)
        run(["systemctl", "restart", f"{name}.service"], job)
        return
    stop(name, job)
    start(name, argv, job)


def _file(name: str, kind: str) -> Path:
    return paths.RUN / f"{name}.{kind}"


def _read(path: Path) -> Optional[int]:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _alive(pid: Optional[int]) -> Optional[int]:
    if pid is None:
        return None
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if state == "Z" else pid


def _end(pid: int, job: Job) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while _alive(pid) is not None and time.monotonic() < until:
        job.wait(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _keep(name: str, argv: List[str]) -> None:
    paths.RUN.mkdir(parents=True, exist_ok=True)
    paths.LOG.mkdir(parents=True, exist_ok=True)
    log = open(paths.LOG / f"{name}.out", "ab")
    code = "from nodeagent.services import keep; import sys; keep(sys.argv[1], sys.argv[2:])"
    subprocess.Popen(
        [sys.executable, "-c", code, name, *argv],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": sys.path[0]},
    )
    log.close()


def keep(name: str, argv: List[str]) -> None:
    """The keeper's life: start the service, start it again when it ends, end it on SIGTERM."""
    _file(name, "keeper").write_text(str(os.getpid()), encoding="ascii")
    child: List[Optional["subprocess.Popen[bytes]"]] = [None]

    def end(_number: int, _frame: object) -> None:
        if child[0] is not None:
            child[0].terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child[0].wait(STOP_SECONDS)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        child[0] = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        _file(name, "pid").write_text(str(child[0].pid), encoding="ascii")
        child[0].wait()
        time.sleep(RESTART_SECONDS)


def _write_unit(name: str, argv: Sequence[str]) -> None:
    # systemd splits at white space; our own programs' paths have none.
    unit = (
        f"[Unit]\nDescription={name} of vmpanel\nAfter=network-online.target libvirtd.service\n\n"
        f"[Service]\nExecStart={' '.join(argv)}\nRestart=always\nRestartSec={RESTART_SECONDS:g}\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    (UNITS / f"{name}.service").write_text(unit, encoding="utf-8")
