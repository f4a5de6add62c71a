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
from typing import List, Optional, Sequence, Set

from nodeagent import paths
from nodeagent.job import Job
from nodeagent.run import run

SYSTEMD = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")
RESTART_SECONDS = 1.0
COMING_SECONDS = 3 * RESTART_SECONDS
STOP_SECONDS = 10.0


def has_systemd() -> bool:
    """Whether systemd runs this node."""
    return SYSTEMD.is_dir()


def pid_of(name: str) -> Optional[int]:
    """The process id of the service itself, None when it does not run."""
    return _recorded(name, "pid")


def start(name: str, argv: Sequence[str], job: Job) -> None:
    """Have the service running under the keeper (or systemd, with a unit of ours); a running one is left."""
    if has_systemd():
        _write_unit(name, argv)
        run(["systemctl", "daemon-reload"], job)
        run(["systemctl", "enable", "--now", f"{name}.service"], job)
        return
    if _recorded(name, "keeper") is None:
        # Without its keeper the service itself may have lived on; it must not run twice.
        _end(_recorded(name, "pid"), job)
        with contextlib.suppress(FileNotFoundError):
            _file(name, "pid").unlink()
        _keep(name, list(argv))
    until = time.monotonic() + STOP_SECONDS
    # That it was started is enough: one that ends at once may never be seen running.
    while not _file(name, "pid").exists() and time.monotonic() < until:
        job.wait(0.05)


class Ends:
    """How often a kept service has ended since; asked more often than it is started again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._ended: Set[str] = set()

    def count(self) -> int:
        """The number of its processes that were seen gone."""
        with contextlib.suppress(FileNotFoundError):
            text = _file(self.name, "pid").read_text(encoding="ascii")
            if _recorded(self.name, "pid") is None:
                self._ended.add(text)
        return len(self._ended)


def running(name: str, job: Job) -> Optional[int]:
    """The service's process id, None when it does not run; raises CommandFailed when systemd does not say."""
    if not has_systemd():
        return pid_of(name)
    # Of a service that it does not know it says 0.
    pid = run(["systemctl", "show", "-p", "MainPID", "--value", f"{name}.service"], job).stdout.strip()
    return int(pid) if pid.isdigit() and pid != "0" else None


def running_again(name: str, job: Job) -> Optional[int]:
    """The service's process id; one that is just being started again after its end is given the time for that.

    None when it does not run and does not come back within COMING_SECONDS.
    """
    until = time.monotonic() + COMING_SECONDS
    while (pid := running(name, job)) is None and is_kept(name, job) and time.monotonic() < until:
        job.wait(0.05)
    return pid


def is_kept(name: str, job: Job) -> bool:
    """Whether somebody is there who starts the service again."""
    if not has_systemd():
        return _recorded(name, "keeper") is not None
    shown = run(["systemctl", "show", "-p", "ActiveState", "--value", f"{name}.service"], job)
    return shown.stdout.strip() == "activating"


def stop(name: str, job: Job) -> None:
    """Have the service stopped and not coming back; one that is unknown is success."""
    if has_systemd():
        run(["systemctl", "disable", "--now", f"{name}.service"], job, check=False)
        with contextlib.suppress(FileNotFoundError):
            (UNITS / f"{name}.service").unlink()
        run(["systemctl", "daemon-reload"], job)
        return
    for kind in ("keeper", "pid"):
        _end(_recorded(name, kind), job)
        with contextlib.suppress(FileNotFoundError):
            _file(name, kind).unlink()


def end(name: str, job: Job) -> Optional[int]:
    """End the service alone, which its keeper then starts again; answers which process it was."""
    pid = _recorded(name, "pid")
    _end(pid, job)
    return pid


def restart(name: str, argv: Sequence[str], job: Job) -> None:
    """Have the service running anew, with what its configuration says now."""
    if has_systemd():
        start(name, argv, job)
        run(["systemctl", "restart", f"{name}.service"], job)
        return
    stop(name, job)
    start(name, argv, job)


def run_at_boot(name: str, argv: Sequence[str], before: str, job: Job) -> None:
    """Have systemd run a program once with each start of the node, before the service `before`.

    Where systemd does not run the node nothing starts by itself, libvirtd neither.
    """
    if not has_systemd():
        return
    unit = (
        f"[Unit]\nDescription={name} of vmpanel\n"
        f"After=nftables.service network.target network-online.target\nBefore={before}\n\n"
        f"[Service]\nType=oneshot\nExecStart={' '.join(argv)}\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    path = UNITS / f"{name}.service"
    if not path.exists() or path.read_text(encoding="utf-8") != unit:
        path.write_text(unit, encoding="utf-8")
        run(["systemctl", "daemon-reload"], job)
    run(["systemctl", "enable", f"{name}.service"], job)


def _file(name: str, kind: str) -> Path:
    return paths.RUN / f"{name}.{kind}"


def _record(name: str, kind: str, pid: int) -> None:
    """Write down a process with the moment of its start: a process id alone may be another program's later."""
    partial = _file(name, f"{kind}.part")
    partial.write_text(f"{pid} {started(pid)}", encoding="ascii")
    partial.rename(_file(name, kind))


def _recorded(name: str, kind: str) -> Optional[int]:
    """The process that was written down, None when it is no more."""
    try:
        pid, _, began = _file(name, kind).read_text(encoding="ascii").partition(" ")
        return int(pid) if began and started(int(pid)) == began else None
    except (FileNotFoundError, ValueError):
        return None


def started(pid: int) -> Optional[str]:
    """When the process was started, in the kernel's ticks; None when it is no more (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): after the name in brackets come state (3rd field) and, as the 22nd, the start time.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _end(pid: Optional[int], job: Job) -> None:
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while started(pid) is not None:
        if time.monotonic() > until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        job.wait(0.02)


def _keep(name: str, argv: List[str]) -> None:
    paths.RUN.mkdir(parents=True, exist_ok=True)
    paths.LOG.mkdir(parents=True, exist_ok=True)
    code = "from nodeagent.services import keep; import sys; keep(sys.argv[1], sys.argv[2:])"
    with open(paths.LOG / f"{name}.out", "ab") as log:
        subprocess.Popen(
            [sys.executable, "-c", code, name, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": sys.path[0]},
        )


def keep(name: str, argv: List[str]) -> None:
    """The keeper's life: start the service, start it again when it ends, end it on SIGTERM."""
    _record(name, "keeper", os.getpid())
    signal.signal(signal.SIGTERM, _stop_keeping)
    child: Optional[subprocess.Popen[bytes]] = None
    try:
        while True:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
            _record(name, "pid", child.pid)
            child.wait()
            time.sleep(RESTART_SECONDS)
    except _StopKeeping:
        if child is not None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)


class _StopKeeping(BaseException):
    pass


def _stop_keeping(_number: int, _frame: object) -> None:
    # Raised, not handled here: the interrupted wait() holds a lock that another wait() would need.
    raise _StopKeeping


def _write_unit(name: str, argv: Sequence[str]) -> None:
    # systemd splits at white space; our own programs' paths have none.
    unit = (
        f"[Unit]\nDescription={name} of vmpanel\nAfter=network-online.target libvirtd.service\n\n"
        f"[Service]\nExecStart={' '.join(argv)}\nRestart=always\nRestartSec={RESTART_SECONDS:g}\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    (UNITS / f"{name}.service").write_text(unit, encoding="utf-8")
