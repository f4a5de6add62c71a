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
    except ValueError:
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
            partial = document.with_suffix(".part")
            with partial.open("w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(document)
