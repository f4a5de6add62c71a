"""What a node remembers beyond its restart: JSON documents under /var/lib/vmpanel, changed under a lock.

Several sessions, each a process with threads, may change the same document at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator

from nodeagent import paths


def read(document: Path) -> Dict[str, Any]:
    """What the document says; empty while there is none. One that cannot be read is lost, and kept beside."""
    try:
        return dict(json.loads(document.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        document.replace(document.with_suffix(".broken"))
        return {}


@contextlib.contextmanager
def changing(document: Path) -> Iterator[Dict[str, Any]]:
    """The document to change in the block, and nobody else meanwhile; kept when the block succeeds.

    An empty one is removed. The block may also do what the document tells of, so that both agree.
    """
    paths.RUN.mkdir(parents=True, exist_ok=True)
    document.parent.mkdir(parents=True, exist_ok=True)
    with (paths.RUN / f"{document.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = read(document)
        before = json.dumps(content)
        yield content
        if not content:
            with contextlib.suppress(FileNotFoundError):
                document.unlink()
        elif json.dumps(content) != before:
            replace(document, json.dumps(content, indent=1), 0o666)


def replace(path: Path, text: str, mode: int) -> None:
    """The file has this text, put in place as a whole; nothing is left of it where that fails (a full disk)."""
    partial = path.with_suffix(".part")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
