"""Pictures of screens: what QEMU draws (PPM), as a PNG that a browser shows."""

from __future__ import annotations

import re
import struct
import zlib
from typing import List

from nodeagent.errors import CommandFailed

PNG = b"\x89PNG\r\n\x1a\n"
PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")
WIDEST = 1024


def as_png(picture: bytes, widest: int = WIDEST) -> bytes:
    """The picture as PNG, of every second (third, …) point where it is wider; raises CommandFailed for no picture."""
    if picture.startswith(PNG):
        return picture
    head = PPM.match(picture)
    if head is None:
        raise CommandFailed("The screen's picture is of no known kind.", argv0="libvirt", exit_code=0)
    width, height, every = int(head[1]), int(head[2]), -(-int(head[1]) // widest)
    if len(picture) - head.end() < 3 * width * height:
        raise CommandFailed("The screen's picture is cut short.", argv0="libvirt", exit_code=0)
    lines = [
        _thinned(picture[start : start + 3 * width], every)
        for start in range(head.end(), head.end() + 3 * width * height, 3 * width * every)
    ]
    return _png(len(lines[0]) // 3, lines)


def _thinned(line: bytes, every: int) -> bytes:
    if every == 1:
        return line
    thin = bytearray(3 * len(line[:: 3 * every]))
    for colour in range(3):
        thin[colour::3] = line[colour :: 3 * every]
    return bytes(thin)


def _png(width: int, lines: List[bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, len(lines), 8, 2, 0, 0, 0)
    # Each line begins with its filter: none.
    content = zlib.compress(b"".join(b"\0" + line for line in lines))
    return PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
