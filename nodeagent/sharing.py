"""What tells whether two nodes see the same files in a pool: its mark, and signs that one puts there for another.

The mark is made once and stays; a copy of the pool has it too. A sign is new for each look, so a copy does not
have it. docs/decisions/0016 says what each is for.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path

from nodeagent.errors import InvalidParams

MARK = ".vmpanel-pool"
SIGN = ".vmpanel-sign-"
LEFT_SECONDS = 3600.0
"""A sign lives for a moment; an older one was left by somebody who died."""
_MARK = re.compile(r"[0-9a-f]{32}\Z")


def make_mark(root: Path) -> None:
    """The pool has a mark; of nodes that make one at the same time all but the first take that one's."""
    if read_mark(root):
        return
    partial = root / f"{MARK}.{uuid.uuid4().hex}"
    try:
        with open(partial, "x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
            file.flush()
            os.fsync(file.fileno())
        # A link is made once, on network file systems too, and shows the whole content from the start.
        with contextlib.suppress(FileExistsError):
            os.link(partial, root / MARK)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def read_mark(root: Path) -> str:
    """The pool's mark; "" for none."""
    try:
        text = (root / MARK).read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return text if _MARK.match(text) else ""


def sign_file(root: Path, sign: str) -> Path:
    """Where a sign is."""
    if not _MARK.match(sign):
        raise InvalidParams("A sign is 32 hexadecimal digits.", field="sign")
    return root / f"{SIGN}{sign}"


def put_sign(root: Path, sign: str) -> None:
    """The sign is there; those that somebody left are not."""
    file = sign_file(root, sign)
    for other in root.glob(f"{SIGN}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > LEFT_SECONDS:
                other.unlink()
    file.touch()


def take_sign(root: Path, sign: str) -> None:
    """The sign is not there."""
    with contextlib.suppress(FileNotFoundError):
        sign_file(root, sign).unlink()


def remove_marks(root: Path) -> None:
    """Neither mark nor signs are there."""
    for file in (*root.glob(f"{MARK}*"), *root.glob(f"{SIGN}*")):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
