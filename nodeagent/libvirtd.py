"""The connection to libvirt, and the one place where its errors are translated."""

from __future__ import annotations

import os
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, TypeVar

from nodeagent.errors import CommandFailed, DeadlinePassed, LibvirtError, NoSuchDomain
from nodeagent.job import Job

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DEFAULT_URI = "qemu:///system"
LOOK_UP_SECONDS = 0.2
T = TypeVar("T")

_lock = threading.Lock()
_connection: Optional[Any] = None


def uri() -> str:
    """The libvirt that this agent drives; the tests name another one."""
    return os.environ.get("VMPANEL_LIBVIRT_URI", DEFAULT_URI)


def boot_id() -> str:
    """What tells this start of the host from others; empty where the kernel does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_test_driver() -> bool:
    """Whether it is libvirt's test driver, which takes domains of type "test" only."""
    return uri().startswith(("test:", "test+"))


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


def answer_within(seconds: float, ask: Callable[[], T], job: Job) -> T:
    """What `ask` answers; raises what it raises, DeadlinePassed when a libvirt that hangs keeps it longer, Cancelled.

    It is asked in a thread of its own, since nothing ends a call to libvirt but the end of its connection: until
    then that thread stays behind.
    """
    return wait_for(begin(ask), seconds, job)


def begin(ask: Callable[[], T]) -> Future[T]:
    """Have it asked in a thread of its own."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def wait_for(answer: Future[T], seconds: float, job: Job) -> T:
    """The answer of begin(); raises as answer_within() does."""
    until = time.monotonic() + seconds
    while not answer.done():
        job.check()
        if time.monotonic() > until:
            raise DeadlinePassed(f"libvirt did not answer within {seconds:g} s.")
        wait([answer], min(LOOK_UP_SECONDS, seconds))
    return answer.result()


def _alive(conn: Any) -> bool:
    try:
        return bool(conn.isAlive())
    except bindings().libvirtError:
        return False
