"""Whoever watches a daemon is told that its loop goes round: systemd's watchdog, and the panel by a file.

A process that was stopped (SIGSTOP) or hangs is there, holds its port, and says nothing: only this tells it apart.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Optional

EVERY_SECONDS = 1.0


class Alive:
    """Call it each time round; it says so at most once a second."""

    def __init__(self, beat: Optional[Path] = None) -> None:
        self._beat = beat
        self._said_at = float("-inf")

    def __call__(self) -> None:
        """Say that the loop goes round."""
        now = time.monotonic()
        if now - self._said_at < EVERY_SECONDS:
            return
        self._said_at = now
        notify("READY=1\nWATCHDOG=1")
        if self._beat is not None:
            try:
                self._beat.touch()
            except OSError:
                # Its folder is gone or full: then nobody believes that it stands still either.
                self._beat = None


def notify(words: str) -> None:
    """Tell systemd, where it started us with Type=notify (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            channel.sendto(words.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return
