"""The private MariaDB and Redis of a test run: started before Django is, stopped when pytest ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from nodeagent.run import dying_with_us
from panel.standalone import private

START_SECONDS = 60.0


class Services:
    """Both, in a temporary folder, with a configuration file that names them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vmpanel-test-"))
        self.database, self.redis = private.sockets(self.folder)
        self.conf = self.folder / "vmpanel.conf"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.conf.write_text(
            f"VarDir={self.folder}/var\nLogDir={self.folder}/log\nDatabaseSocket={self.database}\n"
            f"DatabaseUser=root\nRedisUrl=unix://{self.redis}\nAllowedHosts=*\n",
            encoding="utf-8",
        )

    def start(self) -> None:
        """Start both; returns when both take connections."""
        private.prepare_database(self._data)
        for name in ("mariadb", "redis"):
            self._run(name)
        self._wait()

    def kill(self, name: str) -> None:
        """“mariadb” or “redis” dies at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def start_again(self, name: str) -> None:
        """The one that was killed runs again, with what it had on disk; returns when it takes connections."""
        # Redis would not be waited for if the dead one's socket were taken for its own.
        {"mariadb": self.database, "redis": self.redis}[name].unlink(missing_ok=True)
        self._run(name)
        self._wait()

    def stop(self) -> None:
        """Stop both and remove everything."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not os.environ.get("VMPANEL_TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "mysql"

    def _run(self, name: str) -> None:
        argv = {
            "mariadb": private.mariadb_argv(self._data, self.database, durable=False),
            "redis": private.redis_argv(self.folder, self.redis),
        }[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            # A run that is killed leaves none of them behind.
            argv = [*dying_with_us(), *argv]
            self.processes[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not (self.redis.exists() and private.answers(self.database)):
            if time.monotonic() > until:
                raise RuntimeError(f"the database did not start; see {self.folder}")
            time.sleep(0.05)
