"""Uploads to a panel that serves: others are answered meanwhile, and its memory is that of a piece, not of the file."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.db.images.test_isos import iso_file
from tests.services import Services
from tests.stack import START_SECONDS, Stack, wait_until

MIB = 1024**2
SIZE_MIB = 256
MOST_MORE_MIB = 64


@pytest.fixture(scope="module")
def stack(services: Services) -> Iterator[Stack]:
    """A panel that serves, with an administrator."""
    stack = Stack(services, "uploads", "127.0.0.1")
    try:
        stack.manage("create_admin", "--name", "admin")
        stack.token = stack.json(stack.manage("token_create", "admin", "tests"))["token"]
        stack.run("panel")
        wait_until(stack._serves, "the panel serves", START_SECONDS)
        yield stack
    finally:
        stack.stop()


def memory_mib(pid: int) -> int:
    """The memory that the process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // MIB


def left(stack: Stack) -> list[str]:
    """What is in the folder of uploads."""
    return sorted(path.name for path in (stack.layout.images / "isos").glob("*"))


def test_a_large_upload_holds_up_nobody_and_is_not_held_in_memory(stack: Stack) -> None:
    pid = stack.processes["panel"].pid
    waits, sizes = [], []
    with stack.api() as other, stack.api() as api:
        before = memory_mib(pid)

        def body() -> Iterator[bytes]:
            yield iso_file()
            for number in range(1, SIZE_MIB):
                yield bytes(MIB)
                if number % 16 == 0:
                    begun = time.monotonic()
                    assert other.get("me").status_code == 200
                    waits.append(time.monotonic() - begun)
                    sizes.append(memory_mib(pid))

        begun = time.monotonic()
        answer = api.post("isos?name=large", content=body(), headers={"Content-Type": "application/octet-stream"})
        seconds = time.monotonic() - begun
        assert answer.status_code == 201, answer.text
        assert answer.json()["size_bytes"] == SIZE_MIB * MIB
    print(
        f"{SIZE_MIB} MiB in {seconds:.1f} s, others waited at most {max(waits) * 1000:.0f} ms, "
        f"memory {before} MiB, at most {max(sizes)} MiB meanwhile"
    )
    assert max(sizes) - before < MOST_MORE_MIB
    assert max(waits) < 5.0


def test_a_connection_that_is_cut_leaves_nothing_and_the_next_upload_is_taken(stack: Stack) -> None:
    before = left(stack)
    context = ssl.create_default_context(cafile=str(stack.layout.tls / "panel.crt"))
    head = (
        f"POST /api/v1/isos?name=cut HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {stack.token}\r\n"
        f"Content-Length: {100 * MIB}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    plain = socket.create_connection(("127.0.0.1", stack.port))
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(head.encode() + iso_file(4 * MIB))
        wait_until(lambda: left(stack) != before, "the upload is under way")
    wait_until(lambda: left(stack) == before, "nothing is left of it")
    with stack.api() as api:
        assert api.post("isos?name=cut", content=iso_file()).status_code == 201
    log = (stack.layout.log / "panel.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log[-4000:]


def test_what_is_refused_is_not_waited_for(stack: Stack) -> None:
    with stack.api() as api:
        api.headers["Authorization"] = "Bearer nobody"
        answer = api.post("isos?name=mine", content=iso_file(8 * MIB))
        assert answer.status_code == 401
