"""A screen's picture becomes a PNG."""

from __future__ import annotations

import struct
import zlib

import pytest

from nodeagent.errors import CommandFailed
from nodeagent.pictures import PNG, as_png


def _points(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and the points of a PNG of ours."""
    width, height = struct.unpack(">II", png[16:24])
    size = struct.unpack(">I", png[33:37])[0]
    content = zlib.decompress(png[41 : 41 + size])
    return width, height, b"".join(content[y * (3 * width + 1) + 1 : (y + 1) * (3 * width + 1)] for y in range(height))


def test_a_picture_keeps_its_points_and_a_wide_one_every_second() -> None:
    points = bytes(range(5 * 3 * 3))
    assert _points(as_png(b"P6\n5 3\n255\n" + points)) == (5, 3, points)
    small = b"".join(points[(y * 5 + x) * 3 :][:3] for y in (0, 2) for x in (0, 2, 4))
    assert _points(as_png(b"P6\n5 3\n255\n" + points, widest=4)) == (3, 2, small)


def test_a_png_stays_and_what_is_no_picture_is_refused() -> None:
    assert as_png(PNG + b"rest") == PNG + b"rest"
    for wrong in (b"", b"GIF89a", b"P6 2 2 255 \0\0"):
        with pytest.raises(CommandFailed):
            as_png(wrong)
