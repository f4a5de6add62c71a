"""The console bridge against a server that plays QEMU's part; with the real one: tests/browser and tests/lab."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from panel.web import rfb
from panel.web.console import Bridge

CHALLENGE = bytes(range(16))


class Guest:
    """The other end of a channel: plays a VNC server, byte by byte as told."""

    def __init__(self, play: Callable[[socket.socket], None]) -> None:
        self.channel, self.far = socket.socketpair()
        self.thread = threading.Thread(target=play, args=(self.far,))
        self.thread.start()

    def end(self) -> None:
        """Both ends closed, the play over."""
        self.channel.close()
        self.far.close()
        self.thread.join(5)


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += end.recv(size - len(data))
    return data


def test_signing_in_goes_up_to_where_a_client_would_begin() -> None:
    def play(end: socket.socket) -> None:
        end.sendall(b"RFB 003.")
        end.sendall(b"008\n")
        assert _exactly(end, 12) == b"RFB 003.008\n"
        end.sendall(bytes([2, 19, rfb.VNC]))
        assert _exactly(end, 1) == bytes([rfb.VNC])
        end.sendall(CHALLENGE)
        right = _exactly(end, 16) == rfb.response(CHALLENGE, "secret12")
        end.sendall(b"\0\0\0\0" if right else b"\0\0\0\1\0\0\0\0")

    guest = Guest(play)
    guest.channel.settimeout(5)
    rfb.sign_in(guest.channel, "secret12")
    guest.end()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-Open", "no VNC server"),
        (b"RFB 003.008\n\0\0\0\0\4busy", "busy"),
        (b"RFB 003.008\n\1\1", "does not ask for a password"),
        (b"RFB 003.008\n\1\2" + CHALLENGE + b"\0\0\0\1\0\0\0\5wrong", "wrong"),
        (b"RFB 003", "ended the connection"),
    ],
)
def test_what_is_no_good_server_is_refused_with_its_reason(said: bytes, reason: str) -> None:
    def play(end: socket.socket) -> None:
        # Whoever is refused may have hung up by now.
        with contextlib.suppress(OSError):
            end.sendall(said)
            end.shutdown(socket.SHUT_WR)

    guest = Guest(play)
    guest.channel.settimeout(5)
    with pytest.raises(rfb.Refused, match=reason):
        rfb.sign_in(guest.channel, "secret12")
    guest.end()


def test_the_browser_is_let_in_without_a_password_whatever_pieces_its_words_come_in() -> None:
    async def talk() -> None:
        browser = rfb.BrowserHandshake()
        assert browser.greeting() == b"RFB 003.008\n"
        assert browser.feed(b"RFB 003.") == (b"", b"")
        assert browser.feed(b"008\n") == (bytes([1, rfb.NONE]), b"")
        assert not browser.done.is_set()
        assert browser.feed(bytes([rfb.NONE]) + b"\1rest") == (b"\0\0\0\0", b"\1rest")
        assert browser.done.is_set()
        assert browser.feed(b"more") == (b"", b"more")

    asyncio.run(talk())


class Browser:
    """A WebSocket as the panel's server gives it: what comes in, what went out."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def says(self, data: bytes) -> None:
        """Bytes from the browser."""
        self.incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    async def hears(self, size: int) -> bytes:
        """That many bytes to the browser."""
        data = b""
        while len(data) < size:
            data += (await asyncio.wait_for(self.outgoing.get(), 5))["bytes"]
        return data


async def _connected(bridge: Bridge, browser: Browser) -> asyncio.Task[None]:
    running = asyncio.create_task(bridge.run())
    browser.says(b"RFB 003.008\n" + bytes([rfb.NONE]) + b"\1")
    assert await browser.hears(12 + 2 + 4) == b"RFB 003.008\n" + bytes([1, rfb.NONE]) + b"\0\0\0\0"
    return running


def _bridge() -> tuple[Bridge, Browser, socket.socket]:
    near, far = socket.socketpair()
    far.settimeout(5)
    browser = Browser()
    return Bridge(near, browser.incoming.get, browser.outgoing.put, _ever(), rfb.BrowserHandshake()), browser, far


async def _ever() -> None:
    """Nobody takes the console away."""
    await asyncio.Event().wait()


def test_bytes_go_both_ways_and_the_guests_end_ends_the_page() -> None:
    async def talk() -> None:
        bridge, browser, far = _bridge()
        running = await _connected(bridge, browser)
        assert await asyncio.to_thread(_exactly, far, 1) == b"\1"
        far.sendall(b"screen")
        assert await browser.hears(6) == b"screen"
        browser.says(b"key")
        assert await asyncio.to_thread(_exactly, far, 3) == b"key"
        far.close()
        assert (await asyncio.wait_for(browser.outgoing.get(), 5))["type"] == "websocket.close"
        await asyncio.wait_for(running, 5)

    asyncio.run(talk())


def test_more_consoles_than_shared_threads_do_not_hold_each_other_up() -> None:
    async def talk() -> None:
        consoles = [_bridge() for _ in range(40)]
        tasks = [await _connected(bridge, browser) for bridge, browser, _far in consoles]
        for _, browser, far in consoles:
            far.sendall(b"here")
            assert await browser.hears(4) == b"here"
        for _, _, far in consoles:
            far.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)

    asyncio.run(talk())
