"""The private MariaDB and Redis of a test run: started before Django is, stopped when pytest ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from panel.standalone import private

START_SECONDS = 60.0


class Services:
    """Both, in a temporary folder, with a configuration file that names them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vmpanel-test-"))
        self.database, self.redis = private.sockets(self.folder)
        self.conf = self.folder / "vmpanel.conf"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.conf.write_text(
            f"VarDir={self.folder}/var\nLogDir={self.folder}/log\nDatabaseSocket={self.database}\n"
            f"DatabaseUser=root\nRedisUrl=unix://{self.redis}\nAllowedHosts=*\n",
            encoding="utf-8",
        )

    def start(self) -> None:
        """Start both; returns when both take connections."""
        data = self.folder / "mysql"
        private.prepare_database(data)
        self._run("mariadb", private.mariadb_argv(data, self.database, durable=False))
        self._run("redis", private.redis_argv(self.folder, self.redis))
        until = time.monotonic() + START_SECONDS
        while not (self.redis.exists() and private.answers(self.database)):
            if time.monotonic() > until:
                raise RuntimeError(f"the database did not start; see {self.folder}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop both and remove everything."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not os.environ.get("VMPANEL_TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
