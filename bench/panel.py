"""A panel of a bench's own, which is gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import Services
from tests.stack import Stack

UNLIMITED = {"RateLimitToken": "0", "RateLimitAddress": "0"}
"""As nobody is held back who asks one after the other."""


@contextmanager
def started(name: str) -> Iterator[Stack]:
    """All of a panel's processes, with a database and Redis of their own."""
    services = Services()
    try:
        services.start()
        os.environ["VMPANEL_CONF"] = str(services.conf)
        stack = Stack(services, name, "127.0.0.1", UNLIMITED)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
    finally:
        services.stop()
