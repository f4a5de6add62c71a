"""The supervisor (supervisord of the virtual environment) and the programs that it keeps running."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from panel.standalone import private
from panel.standalone.options import TOP
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
ALREADY_STARTED = 60
"""supervisor.xmlrpc.Faults"""


@dataclass(frozen=True)
class Program:
    """A program under the supervisor. `first`: it runs before the database is migrated."""

    name: str
    argv: list[str]
    first: bool = False
    stop_seconds: int = 15
    group: bool = True


def programs(layout: Layout, concurrency: int) -> list[Program]:
    """Everything that runs, in the order in which it starts."""
    python = sys.executable
    database, redis = private.sockets(layout.run)
    bin_folder = Path(python).parent
    return [
        Program("mariadb", private.mariadb_argv(layout.var / "mysql", database), first=True, stop_seconds=40),
        Program("redis", private.redis_argv(layout.run, redis), first=True),
        Program("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(layout.ssh / "sshd_config")], first=True, group=False),
        Program("panel", [python, "-m", "panel.standalone.door"]),
        Program(
            "worker",
            [
                *[str(bin_folder / "celery"), "-A", "panel.celery:app", "worker", "--loglevel", "WARNING"],
                *["--concurrency", str(concurrency), "--without-gossip", "--without-mingle", "--without-heartbeat"],
            ],
            stop_seconds=20,
        ),
        Program(
            "vmwatch-master",
            [
                *[python, "-m", "vmwatch.master", "--config", str(layout.var / "etc" / "vmwatch-master.conf")],
                *["--log", str(layout.log / "vmwatch-master.log"), "--wait"],
                *["--pid-file", str(layout.var / "run" / "vmwatch-master.pid")],
            ],
        ),
        Program("cron", [python, "-m", "panel.standalone.cron"]),
    ]


def configuration(layout: Layout, chosen: list[Program]) -> str:
    """supervisord.conf. Values go through quoting: supervisord splits commands like a shell and expands `%`."""
    variables = f'VMPANEL_CONF="{_plain(layout.conf)}",DJANGO_SETTINGS_MODULE="panel.settings",PYTHONUNBUFFERED="1"'
    parts = [
        f"[unix_http_server]\nfile={_plain(layout.run / 'supervisor.sock')}\nchmod=0700\n",
        f"[supervisord]\nlogfile={_plain(layout.log / 'supervisord.log')}\n"
        f"pidfile={_plain(layout.run / 'supervisord.pid')}\nnodaemon=true\nsilent=true\nminfds=4096\n"
        f"environment={variables}\n",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
    ]
    for priority, program in enumerate(chosen, start=1):
        group = "true" if program.group else "false"
        parts.append(
            f"[program:{program.name}]\ncommand={_command(program.argv)}\ndirectory={_plain(TOP)}\n"
            f"priority={priority}\nautostart={'true' if program.first else 'false'}\nautorestart=true\n"
            f"startsecs=1\nstartretries=10\nstopwaitsecs={program.stop_seconds}\nstopasgroup={group}\nkillasgroup={group}\n"
            f"redirect_stderr=true\nstdout_logfile={_plain(layout.log / f'{program.name}.log')}\n"
            "stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=2\n"
        )
    return "\n".join(parts)


def _plain(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or any(sign in text for sign in '"\\;'):
        raise Unfit(f"The path {text} has characters that the supervisor's configuration cannot hold.")
    return text.replace("%", "%%")


def _command(argv: list[str]) -> str:
    return shlex.join(argv).replace("%", "%%")


def started(pid: int) -> str | None:
    """When the process was started, in the kernel's ticks: with the id it names one process. None: it is no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Supervisor:
    """supervisord as a child of this process: it gets SIGTERM when we die, however we do, and stops all programs."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.socket = layout.run / "supervisor.sock"
        self.record = layout.run / "supervisor.process"
        self.process: subprocess.Popen[bytes] | None = None

    def rpc(self) -> Any:
        """Its XML-RPC interface."""
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def end_orphan(self) -> None:
        """No supervisord of an earlier run that died is left, nor anything that it kept."""
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            self.rpc().shutdown()
        until = time.monotonic() + STOP_SECONDS
        while self._recorded():
            if time.monotonic() > until:
                raise Unfit("What an earlier run of script/server left does not stop.")
            time.sleep(0.1)
        self.socket.unlink(missing_ok=True)

    def _recorded(self) -> bool:
        """Whether the supervisord that was started last still runs."""
        try:
            pid, _, began = self.record.read_text(encoding="ascii").partition(" ")
        except FileNotFoundError:
            return False
        return started(int(pid)) == began

    def _answers(self) -> bool:
        try:
            self.rpc().getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def start(self, chosen: list[Program]) -> None:
        """supervisord runs, with the programs that come first. Raises Unfit."""
        conf = self.layout.run / "supervisord.conf"
        conf.write_text(configuration(self.layout, chosen), encoding="utf-8")
        log = self.layout.log / "supervisord.out"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "supervisord"), "-c", str(conf)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.record.write_text(f"{self.process.pid} {started(self.process.pid)}", encoding="ascii")
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Unfit(f"The supervisor did not start; see {log}.")
            time.sleep(0.05)

    def start_program(self, name: str) -> None:
        """Have the program started; whether it works its user finds out."""
        try:
            self.rpc().startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise Unfit(f"{name} could not be started: {fault.faultString}.") from fault

    def stop(self) -> None:
        """Every program has ended, and supervisord."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.umask(0o077)
