"""The id that follows a request through every process and log line.

Taken from the caller's X-Request-Id where it is sane, else made here; kept in a context variable.
"""

from __future__ import annotations

import contextvars
import logging
import re
import uuid

_current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def current() -> str:
    """The id of the request or task being served, "-" outside of any."""
    return _current.get()


def new() -> str:
    """A fresh id, not yet in force."""
    return uuid.uuid4().hex[:16]


def bind(value: str | None) -> contextvars.Token[str]:
    """Put `value` in force if it is sane (1 to 64 of A-Z a-z 0-9 . _ -), else a new id; reset() with the token."""
    return _current.set(value if value and _SANE.match(value) else new())


def reset(token: contextvars.Token[str]) -> None:
    """Put back what was in force before bind()."""
    _current.reset(token)


class LogFilter(logging.Filter):
    """Gives every log record its `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current()
        return True
