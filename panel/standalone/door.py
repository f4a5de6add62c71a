"""The panel's server: https on ListenPort and the ports of ListenAlso, and for plain http there the way to https.

Each connection's first byte is looked at first: TLS begins with 0x16, a request in the clear with a letter. On
ListenSocket a proxy of this machine speaks plain http. systemd is told that the server is there and goes round.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvicorn

from panel.config import Config, load
from vmwatch.alive import EVERY_SECONDS, Alive

log = logging.getLogger(__name__)

TLS = b"\x16"
HELLO_SECONDS = 10.0
"""How long a connection may take to say what it is."""
PAUSE_SECONDS = 1.0
"""Before the next connection is taken where there was no file descriptor left for one."""
LONGEST_HEAD = 16_384
REQUEST = re.compile(rb"([A-Z]{1,10}) (/[\x21-\x7e]{0,8000}) HTTP/1\.[01]\r?\n")
HOST = re.compile(rb"\nhost:[ \t]*([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?[ \t]*\r?\n", re.IGNORECASE)
BACKLOG = 2048


class Door(uvicorn.Server):
    """uvicorn's server, which takes connections in its own way."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.servers = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The sockets are listened on."""
        await self.lifespan.startup()
        for each in sockets or []:
            each.setblocking(False)
            self._begin(self._take(each))
        self._begin(_say_alive())
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No connection is taken any more, and those that are open end."""
        for task in self.tasks:
            task.cancel()
        await super().shutdown(sockets)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop itself holds tasks weakly.
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                log.warning("no connection is taken for a moment: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                local = listener.family == socket.AF_UNIX
                self._begin(self._let_in(connection) if local else self._welcome(connection))

    async def _let_in(self, connection: socket.socket) -> None:
        """Of a proxy of this machine."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            # asyncio does so for sockets that say their protocol: an answer's end waited 40 ms for an acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(HELLO_SECONDS):
                first = await _first_byte(connection)
                if first != TLS:
                    await _lead_to_https(connection)
            if first == TLS:
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        except (OSError, TimeoutError):
            # It ended, said nothing, or spoke TLS badly: nobody is left to be told.
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


async def _say_alive() -> None:
    alive = Alive()
    while True:
        alive()
        await asyncio.sleep(EVERY_SECONDS)


async def _first_byte(connection: socket.socket) -> bytes:
    """The first byte, which stays to be read; empty for a connection that ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)


async def _lead_to_https(connection: socket.socket) -> None:
    """Answer a request with the same address by https, and end."""
    loop, head = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < LONGEST_HEAD:
        if not (part := await loop.sock_recv(connection, LONGEST_HEAD)):
            break
        head += part
    if answer := redirect_for(head):
        await loop.sock_sendall(connection, answer)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    connection.close()


def redirect_for(head: bytes) -> bytes:
    """The answer to a request's head that came in the clear; empty for what is no request.

    308 has a form sent again as a form, 301 is what old clients know.
    """
    request, host = REQUEST.match(head), HOST.search(head)
    if request is None or host is None:
        return b""
    status = b"301 Moved Permanently" if request[1] in (b"GET", b"HEAD") else b"308 Permanent Redirect"
    address = b"https://" + host[1] + (host[2] or b"") + request[2]
    return (
        b"HTTP/1.1 " + status + b"\r\nLocation: " + address + b"\r\nContent-Length: 0\r\nConnection: close\r\n"
        b"Cache-Control: no-store\r\n\r\n"
    )


def listeners(config: Config) -> list[socket.socket]:
    """Sockets on the panel's ports; one of ListenAlso that is taken is logged and left out. Raises OSError."""
    found = [_listen(config.listen_ip, config.listen_port)]
    for port in config.listen_also:
        try:
            found.append(_listen(config.listen_ip, port))
        except OSError as error:
            log.error("port %s, of ListenAlso, cannot be listened on: %s", port, error)
    if config.listen_socket:
        found.append(listen_locally(config.listen_socket))
    return found


def listen_locally(path: str) -> socket.socket:
    """A socket at the path; one that a panel which is gone has left is in nobody's way. Raises OSError."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as old:
        try:
            old.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            Path(path).unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, "another panel listens there", path)
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    # Who may come is said by the folder, which may be another's: the proxy's group.
    Path(path).chmod(0o666)
    made.listen(BACKLOG)
    return made


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=BACKLOG)


def server(config: Config, application: Any = "panel.asgi:application") -> Door:
    """The server of the panel."""
    return Door(
        uvicorn.Config(
            application,
            http="panel.listening:Http",
            ssl_certfile=str(config.certificate_path),
            ssl_keyfile=str(config.certificate_key_path),
            # Whom to believe about a caller's address is the panel's own option, TrustedProxies.
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_level="warning",
            lifespan="off",
            # Open event streams would hold the end up for good.
            timeout_graceful_shutdown=3,
            # Clients give an idle connection up after some seconds: one that the panel ends in the very moment
            # in which a request is sent on it loses that request. uvicorn's default is that of httpx, 5 s.
            timeout_keep_alive=75,
        )
    )


if __name__ == "__main__":
    _config = load()
    server(_config).run(listeners(_config))
