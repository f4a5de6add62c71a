"""Keeping the daemons small: glibc's own habits are for programs that are alone on their machine."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""malloc.h"""
LARGE = 256 * 1024


def give_back_memory() -> None:
    """Have glibc give back what a large message took, as soon as it is gone, and keep one heap for all threads.

    By default it learns from large blocks to keep them, so that a flood would grow the process for good,
    and has a heap for each thread. Call it before there are threads.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE)):
            library.mallopt(parameter, value)
