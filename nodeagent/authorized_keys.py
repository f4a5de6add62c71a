"""Who may sign in on this node by key: a file that its administrator and the panel write too."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Callable

from nodeagent import paths


def change(keeps: Callable[[str], bool], *added: str) -> None:
    """The file has those of its lines that `keeps` says, and the added ones behind them.

    One agent at a time: several moves begin and end beside each other, and each writes the whole file. What is not
    ours stays byte by byte, whatever its encoding; a last line without an end gets one.
    """
    paths.RUN.mkdir(parents=True, exist_ok=True)
    # Where its administrator keeps it: a symbolic link stays one.
    path = (Path.home() / ".ssh" / "authorized_keys").resolve()
    with (paths.RUN / "authorized_keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""
        lines = before[: -1 if before.endswith("\n") else None].split("\n") if before else []
        kept = [line for line in lines if keeps(line)]
        if kept != lines or added:
            _write(path, "".join(f"{line}\n" for line in (*kept, *added)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True, mode=0o700)
    partial = path.with_name("authorized_keys.vmpanel")
    partial.touch(mode=0o600)
    with partial.open("wb") as file:
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
