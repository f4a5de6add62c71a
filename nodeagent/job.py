"""One request being carried out: its deadline, its cancellation, its progress."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

from nodeagent.errors import Cancelled, DeadlinePassed

PROGRESS_INTERVAL = 0.3
"""Seconds between two progress lines of one request."""


class Job:
    """What a command knows of its request besides the parameters."""

    def __init__(
        self,
        deadline: float = 60.0,
        request_id: str = "-",
        report: Optional[Callable[[float, float, str], None]] = None,
    ) -> None:
        self.seconds = deadline
        self.ends = time.monotonic() + deadline
        self.request_id = request_id
        self.stopped = threading.Event()
        self._report = report
        self._reported = 0.0

    def remaining(self) -> float:
        """Seconds until the deadline, never below 0."""
        return max(0.0, self.ends - time.monotonic())

    @property
    def lasted(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - (self.ends - self.seconds)

    def check(self) -> None:
        """Raise Cancelled or DeadlinePassed when the request must end."""
        if self.stopped.is_set():
            raise Cancelled("The request was cancelled.")
        if self.remaining() <= 0:
            raise DeadlinePassed(f"The request did not end within {self.seconds:g} s.")

    def wait(self, seconds: float) -> None:
        """Pause, but end at once when the request must end."""
        self.stopped.wait(min(seconds, self.remaining()))
        self.check()

    def progress(self, done: float, total: float, text: str = "") -> None:
        """Report how far the request is; also a moment at which it may end."""
        self.check()
        now = time.monotonic()
        if self._report is not None and now - self._reported >= PROGRESS_INTERVAL:
            self._reported = now
            self._report(done, total, text)
