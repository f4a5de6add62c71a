"""Whether a port elsewhere can be reached from this node: found out by really connecting."""

from __future__ import annotations

import socket

ONCE_SECONDS = 3.0


def reason_against(address: str, port: int, seconds: float = ONCE_SECONDS) -> str:
    """Why there is no connection; empty when there is one."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
        return ""
    except (socket.timeout, TimeoutError):
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
