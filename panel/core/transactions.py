"""Transactions that MariaDB gave up so that another could go on: they are done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection

T = TypeVar("T")
LOST = (1205, 1213)
"""MariaDB's codes of "lock wait timeout" and "deadlock found" (https://mariadb.com/kb/en/mariadb-error-codes/)."""
ATTEMPTS = 5
PAUSE_SECONDS = 0.02


def was_lost(error: Exception) -> bool:
    """Whether the error says that a transaction was given up: what was asked for was not done, and can be again."""
    return isinstance(error, OperationalError) and bool(error.args) and error.args[0] in LOST


def is_whole() -> bool:
    """Whether what begins now is a transaction by itself, and no part of one."""
    return not connection.in_atomic_block


def again_if_lost(act: Callable[[], T]) -> T:
    """Call `act`, which is one transaction, until MariaDB does not give it up; at most ATTEMPTS times.

    Inside of a transaction it is called once: that one was given up as a whole, and is to be done again by whoever
    began it. Raises what `act` raises, OperationalError after the last attempt.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return act()
        except OperationalError as error:
            if not (was_lost(error) and is_whole()):
                raise
            time.sleep(PAUSE_SECONDS * 2**attempt)
    return act()
