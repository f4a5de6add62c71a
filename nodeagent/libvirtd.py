"""The connection to libvirt, and the one place where its errors are translated."""

from __future__ import annotations

import os
import threading
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from nodeagent.errors import CommandFailed, LibvirtError, NoSuchDomain

DEFAULT_URI = "qemu:///system"

_lock = threading.Lock()
_connection: Optional[Any] = None


def uri() -> str:
    """The libvirt that this agent drives; the tests name another one."""
    return os.environ.get("VMPANEL_LIBVIRT_URI", DEFAULT_URI)


def is_test_driver() -> bool:
    """Whether it is libvirt's test driver, which takes domains of type "test" only."""
    return uri().startswith("test:")


def copies_running(conn: Any) -> bool:
    """Whether libvirt and QEMU can copy the disks of a running domain as of one moment (libvirt 7.2, QEMU 5.2)."""
    libvirt = bindings()
    try:
        told = ET.fromstring(conn.getDomainCapabilities()).find("./features/backup")
    except libvirt.libvirtError as error:
        # The test driver has none.
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return False
    return told is not None and told.get("supported") == "yes" and hasattr(libvirt.virDomain, "backupBegin")


def bindings() -> Any:
    """The libvirt module; raises CommandFailed where the node has none yet."""
    try:
        import libvirt
    except ImportError as error:
        raise CommandFailed(
            "The node has no libvirt bindings for Python yet.", argv0="python3", exit_code=127
        ) from error
    if not getattr(bindings, "quiet", False):
        # libvirt prints every error to stderr by itself otherwise.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        bindings.quiet = True  # type: ignore[attr-defined]
    return libvirt


def connection() -> Any:
    """The process's one connection, opened anew when it has died; raises LibvirtError."""
    global _connection
    libvirt = bindings()
    with _lock:
        if _connection is not None:
            try:
                if _connection.isAlive():
                    return _connection
            except libvirt.libvirtError:
                pass
            _connection = None
        try:
            _connection = libvirt.open(uri())
        except libvirt.libvirtError as error:
            raise LibvirtError(
                error.get_error_message() or str(error), libvirt_code=error.get_error_code(), connection_lost=True
            ) from error
        return _connection


@contextmanager
def translated() -> Iterator[Any]:
    """Give the block the connection and turn libvirt's errors into ours."""
    conn = connection()
    libvirt = bindings()
    try:
        yield conn
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise NoSuchDomain("libvirt has no such domain.") from error
        raise LibvirtError(
            error.get_error_message() or str(error),
            libvirt_code=error.get_error_code(),
            connection_lost=not _alive(conn),
        ) from error


def _alive(conn: Any) -> bool:
    try:
        return bool(conn.isAlive())
    except bindings().libvirtError:
        return False
