"""The agent's log, which the agents of several conversations write at a time. It is begun anew when it is large."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import TextIO

MOST_BYTES = 10 * 1024 * 1024
KEPT = 3
"""Earlier logs that stay: nodeagent.log.1 is the newest of them."""


class SharedLog(logging.FileHandler):
    """A file that several processes add lines to, each renaming it or finding it renamed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, into the file that bears the name by now."""
        with contextlib.suppress(OSError):
            self._renew()
        super().emit(record)

    def _renew(self) -> None:
        file = self.stream or self._reopened()
        if not self._is(file):
            file = self._reopened()
        if os.fstat(file.fileno()).st_size < MOST_BYTES:
            return
        # Who has the lock renames the file; the others find that it is not theirs any more.
        fcntl.flock(file, fcntl.LOCK_EX)
        if self._is(file):
            self._rename()
        self._reopened()

    def _is(self, file: TextIO) -> bool:
        """Whether the file bears the name still."""
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _rename(self) -> None:
        path = Path(self.baseFilename)
        for number in range(KEPT, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}.{number - 1}").replace(path.with_name(f"{path.name}.{number}"))
        path.replace(path.with_name(f"{path.name}.1"))

    def _reopened(self) -> TextIO:
        if self.stream is not None:
            self.stream.close()
        self.stream = file = self._open()
        return file


def log_to(path: Path, line: str) -> None:
    """Log lines of this form to `path`; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = SharedLog(str(path), encoding="utf-8")
    logging.basicConfig(handlers=[handler], level=logging.INFO, format=line)
