"""vmwatch-node on this node: its configuration and its service."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import List

from nodeagent import memory, paths, reach, services
from nodeagent.commands import handles
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, node

NAME = "vmwatch-node"


def argv() -> List[str]:
    """How vmwatch-node is started."""
    return [sys.executable, str(paths.VMWATCH), "--config", str(paths.VMWATCH_CONF)]


def is_configured() -> bool:
    """Whether the panel has said what vmwatch-node is to do here."""
    return paths.VMWATCH_CONF.exists()


@handles(node.VmwatchConfigure)
def vmwatch_configure(request: node.VmwatchConfigure, job: Job) -> node.ServiceState:
    """Write the configuration and have the service running with it."""
    values = {
        "connect": request.connect,
        "secret": request.secret,
        "node_id": str(request.node_id),
        "resync": f"{request.resync:g}",
    }
    if request.server_key:
        values["server_key"] = request.server_key
    if any(not value.isprintable() for value in values.values()):
        raise InvalidParams("A value of the configuration has a character that it cannot hold.", field="connect")
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    changed = _write(text)
    pid = services.running(NAME, job)
    if pid is None or _older_than_program(pid):
        services.restart(NAME, argv(), job)
    elif changed:
        # It goes on where it is: no event is missed, as it would be while it starts.
        os.kill(pid, signal.SIGHUP)
    return _state(job)


def _older_than_program(pid: int) -> bool:
    """Whether the process was started before its program was put in place."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        # proc(5): the 22nd field is the start in clock ticks after boot; the 2nd may hold blanks.
        age = uptime - int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        now = time.time()
        return now - age < paths.VMWATCH.stat().st_mtime <= now
    except (OSError, ValueError, IndexError):
        return False


@handles(node.VmwatchStatus)
def vmwatch_status(request: node.VmwatchStatus, job: Job) -> node.ServiceState:
    """Look whether the service runs; one that is just being started again does."""
    pid = services.running_again(NAME, job)
    return node.ServiceState(name=NAME, running=pid is not None, pid=pid)


@handles(node.PortProbe)
def port_probe(request: node.PortProbe, job: Job) -> node.Reached:
    """Try the way of vmwatch-node to its master."""
    against = reach.reason_against(request.address, request.port)
    return node.Reached(reached=not against, reason=against)


@handles(node.VmwatchRemove)
def vmwatch_remove(request: node.VmwatchRemove, job: Job) -> Nothing:
    """Stop the service and remove its configuration."""
    services.stop(NAME, job)
    with contextlib.suppress(FileNotFoundError):
        paths.VMWATCH_CONF.unlink()
    return Nothing()


def _write(text: str) -> bool:
    paths.ETC.mkdir(parents=True, exist_ok=True)
    try:
        if paths.VMWATCH_CONF.read_text(encoding="utf-8") == text:
            return False
    except FileNotFoundError:
        pass
    memory.replace(paths.VMWATCH_CONF, text, 0o600)
    return True


def _state(job: Job) -> node.ServiceState:
    pid = services.running(NAME, job)
    return node.ServiceState(name=NAME, running=pid is not None, pid=pid)
