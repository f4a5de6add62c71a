"""vmwatch-master as a process of this machine: whether it runs, and whether it has read its configuration."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from pathlib import Path

import psutil
from django.conf import settings

from vmwatch import config as vmwatch_config

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
"""How long a running master may take to read its configuration again."""
LOOK_SECONDS = 0.02
STILL_SECONDS = 30.0
"""How long its loop may not go round: longer than it waits for the panel's answer (10 s)."""


def pid_file() -> Path:
    """Where vmwatch-master writes its process id."""
    return Path(settings.CONFIG.var_dir) / "run" / "vmwatch-master.pid"


def mark_file() -> Path:
    """Where it writes which configuration it works with."""
    return vmwatch_config.mark_of(pid_file())


def reload(path: Path, *, wait: bool) -> None:
    """Have a running master read its configuration; one that does not run reads it when it starts.

    With `wait` that is done when this returns, or the log says that it did not come about.
    """
    process = _process()
    if process is None:
        return
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGHUP)
    until = time.monotonic() + READ_SECONDS
    while wait and process.is_running() and _says() != vmwatch_config.digest(path):
        if time.monotonic() > until:
            log.warning("vmwatch-master has not read its configuration within %g s", READ_SECONDS)
            return
        time.sleep(LOOK_SECONDS)


def has_read(path: Path) -> bool:
    """False while a running master says that it works with another configuration than the file's."""
    said = _says()
    return not said or said == vmwatch_config.digest(path) or _process() is None


def stands_still() -> bool:
    """Whether it is there and its loop has not gone round for long: it was stopped, or hangs."""
    process = _process()
    if process is None:
        return False
    with contextlib.suppress(OSError, psutil.Error):
        lived_at = max(vmwatch_config.beat_of(pid_file()).stat().st_mtime, process.create_time())
        return time.time() - lived_at > STILL_SECONDS
    # One of an earlier version, which tells nobody.
    return False


def end_standing_still() -> bool:
    """Have one that stands still ended, so that its service manager starts it again; answers whether it did.

    It is killed: what is stopped heeds nothing else. Its messages on the disk are there for the next one.
    """
    process = _process() if stands_still() else None
    if process is None:
        return False
    log.error("vmwatch-master (process %s) stands still: it is ended, to be started again", process.pid)
    with contextlib.suppress(psutil.Error):
        process.kill()
        return True
    return False


def _says() -> str:
    with contextlib.suppress(OSError):
        return mark_file().read_text(encoding="ascii")
    return ""


def _process() -> psutil.Process | None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(pid_file().read_text(encoding="ascii")))
        # The number in the file may be another process' by now, and the signal would end it.
        if any("vmwatch" in word for word in process.cmdline()):
            return process
    return None
