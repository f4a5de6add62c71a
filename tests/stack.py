"""A whole panel for tests: the processes that script/server runs, on ports of their own, with the run's database.

No supervisor: a test kills and starts processes itself, and a death that nobody meant must not be mended unseen.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from nodeagent.run import dying_with_us
from panel.standalone.options import TOP, Options
from panel.standalone.setup import Layout, make_certificate, write_configuration
from panel.standalone.supervisor import programs
from tests import migrated
from tests.services import Services

START_SECONDS = 60.0
LONGEST_PAUSE = 0.5
# Short enough for tests of what happens when they run out.
QUICK = {
    "LeaseSeconds": "4",
    "SweepSeconds": "0.5",
    "RetrySeconds": "60",
    "UndoRetrySeconds": "120",
    "NodeConnectSeconds": "3",
    "WorkerConcurrency": "2",
    "GuestReachableSeconds": "300",
    # A test that waits asks more often than any client should.
    "RateLimitToken": "0",
    "RateLimitAddress": "0",
}


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def own_seconds() -> float:
    """A clock that stands still, CPU by CPU, while this machine's host gives its CPUs to others.

    What a guest waits for a CPU is “steal” in /proc/stat (proc(5)), in ticks of all CPUs together.
    """
    ticks = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[8]
    return time.monotonic() - int(ticks) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 60.0, every: float = 0.05) -> Any:
    """The first true answer of `ready`, which is asked each `every` seconds, less often when it takes long.

    AssertionError naming `what` when there is none in time: in `seconds` of own_seconds().
    """
    until = own_seconds() + seconds
    while True:
        answer = ready()
        if answer:
            return answer
        if own_seconds() > until:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        time.sleep(every)
        # What answers is mostly the panel, and the machine has few cores for it and for what is waited for.
        every = min(every * 1.1, max(every, LONGEST_PAUSE))


class Stack:
    """The panel, a worker, vmwatch-master; start() them, stop() them."""

    def __init__(self, services: Services, name: str, listen_ip: str, options: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.services = services
        self.database = f"vmpanel_{name}"
        self.options = Options(services.folder / name, self.port, "0.0.0.0", (), None, False)
        self.layout = Layout(self.options)
        self.layout.make()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        extra = {"VmwatchListenIp": listen_ip, "VmwatchListenPort": str(free_port()), "DatabaseName": self.database}
        lines = "".join(f"{key}={value}\n" for key, value in {**extra, **QUICK, **(options or {})}.items())
        self.layout.conf.write_text(lines, encoding="utf-8")
        write_configuration(self.layout, self.options, services.database, services.redis)
        make_certificate(self.layout)
        migrated.fill(services.database, self.database)
        concurrency = int({**QUICK, **(options or {})}["WorkerConcurrency"])
        chosen = programs(self.layout, concurrency)
        self.programs = {program.name: program.argv for program in chosen}
        self.token = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the panel's processes."""
        return {**os.environ, "VMPANEL_CONF": str(self.layout.conf), "DJANGO_SETTINGS_MODULE": "panel.settings"}

    def start(self) -> None:
        """All of it runs and serves; an administrator's token is there."""
        self.password = self.json(self.manage("create_admin", "--name", "admin"))["password"]
        self.token = self.json(self.manage("token_create", "admin", "tests"))["token"]
        for name in ("panel", "worker", "vmwatch-master"):
            self.run(name)
        wait_until(self._serves, "the panel serves", START_SECONDS)

    @staticmethod
    def json(text: str) -> dict[str, Any]:
        """What a command of manage.py printed."""
        import json

        return dict(json.loads(text))

    def run(self, name: str, argv: list[str] | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start one of the programs (or `argv` under its name)."""
        with (self.layout.log / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                # A run that is killed leaves none of them behind.
                [*dying_with_us(), *(argv or self.programs[name])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=TOP,
                env={**self.environment, **environment},
                start_new_session=True,
            )
        return self.processes[name]

    def kill(self, name: str) -> None:
        """The program and all its processes die at once."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self, name: str) -> None:
        """The program ends by itself on request."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """Nothing of it runs."""
        for name in list(self.processes):
            self.end(name)

    def set_option(self, name: str, value: str) -> None:
        """Have an option of vmpanel.conf; programs that run read it when they are started again."""
        lines = [each for each in self.layout.conf.read_text().splitlines() if not each.startswith(f"{name}=")]
        self.layout.conf.write_text("\n".join([*lines, f"{name}={value}", ""]), encoding="utf-8")

    def restart(self, *names: str) -> None:
        """The programs run anew, and the panel serves."""
        for name in names:
            self.end(name)
            self.run(name)
        wait_until(self._serves, "the panel serves", START_SECONDS)

    def sql(self, statement: str) -> list[list[str]]:
        """The rows that a statement gives, faster than by manage(); for a test that asks again and again."""
        argv = ["mariadb", "--no-defaults", f"--socket={self.services.database}", "-u", "root", "-N", "-B"]
        argv += [self.database, "-e", statement]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def manage(self, *words: str) -> str:
        """Run a command of manage.py; answers what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=TOP,
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def api(self) -> httpx.Client:
        """The REST API as the administrator, the panel's certificate being checked."""
        context = ssl.create_default_context(cafile=str(self.layout.tls / "panel.crt"))
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}/api/v1/",
            headers={"Authorization": f"Bearer {self.token}"},
            verify=context,
            timeout=30,
        )

    def _serves(self) -> bool:
        process = self.processes["panel"]
        assert process.poll() is None, (self.layout.log / "panel.log").read_text(encoding="utf-8")[-2000:]
        try:
            with self.api() as api:
                return api.get("me").status_code == 200
        except httpx.TransportError:
            return False


def task_of(answer: httpx.Response) -> int:
    """The id of the task that an accepted request made."""
    assert answer.status_code == 202, answer.text
    return int(answer.json()["task"]["id"])


def wait_for_task(api: httpx.Client, task_id: int, seconds: float = 180.0) -> dict[str, Any]:
    """The task, once it has ended."""
    ended = ("done", "failed", "cancelled", "stuck")

    def look() -> dict[str, Any] | None:
        task = api.get(f"tasks/{task_id}").json()
        return task if task["status"] in ended else None

    try:
        # Every look costs the panel as much as a small step costs the worker.
        return dict(wait_until(look, f"task {task_id} has ended", seconds, every=0.15))
    except AssertionError:
        steps = [(step["name"], step["status"], step["error"]) for step in api.get(f"tasks/{task_id}").json()["steps"]]
        raise AssertionError(f"task {task_id} does not end: {steps}") from None


def done(api: httpx.Client, answer: httpx.Response, seconds: float = 180.0) -> dict[str, Any]:
    """The accepted request's task, which ended well."""
    task = wait_for_task(api, task_of(answer), seconds)
    assert task["status"] == "done", (task["error"], api.get(f"tasks/{task['id']}/log").json())
    return task
