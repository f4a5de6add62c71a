"""The console bridge: a browser's WebSocket to QEMU's VNC, or to the VM's serial port, through the node's ssh session.

The link is single-use, lives for seconds, and is bound to the session that asked. The panel signs in to
QEMU's VNC itself with a one-time password and tells the browser that no password is needed, so the
browser never has one. A serial port is served by an agent of its own (nodeagent/serial.py), to one browser at a time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.accounts.session_store import user_of
from panel.cluster.client import Channel
from panel.cluster.nodes import client
from panel.core import own_origin, request_id
from panel.core.errors import CommandFailed, PanelError
from panel.vms.models import Vm
from panel.vms.selectors import find_vm
from panel.web import rfb
from panel.web.leave import until_refused

log = logging.getLogger(__name__)

LINK_SECONDS = 30
CALL_SECONDS = 15.0
PASSWORD_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
BLOCK = 65536
REFUSED = 4403
SCREEN, SERIAL, TAKE_SERIAL = "screen", "serial", "take-serial"
KINDS = (SCREEN, SERIAL, TAKE_SERIAL)
"""What a link opens; the last takes the serial port from whoever has it."""
FAILED = 4500
CLOSED_FOR = {"guest_stopped": 4410, "no_such_domain": 4410, "no_serial": 4404, "serial_taken": 4409}
"""The WebSocket's code for why a serial port cannot be had, by the agent's; its page has the words."""
PREFIX = "/console/"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Link:
    """What a token opens."""

    vm_id: int
    kind: str = SCREEN


@dataclass(frozen=True)
class Opened:
    """A console that can be had: its bytes, who has it, and how it begins."""

    channel: Channel
    viewer: User
    vm: Vm
    handshake: rfb.BrowserHandshake | NoHandshake


class NoHandshake:
    """All bytes are the guest's, from the first on."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.done.set()

    def greeting(self) -> bytes:
        """Nothing."""
        return b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """All of it is for the guest."""
        return b"", data


def make_link(user_id: int, vm_id: int, kind: str = SCREEN) -> str:
    """A token that opens the VM's console for this user, once, within LINK_SECONDS."""
    token = secrets.token_urlsafe(24)
    _redis().set(f"vmpanel:console:{token}", f"{user_id}:{vm_id}:{kind}", ex=LINK_SECONDS)
    return token


def use_link(token: str, user_id: int) -> Link | None:
    """What the token opens for this user; a token is used up by asking."""
    value = _redis().getdel(f"vmpanel:console:{token}")
    if not isinstance(value, bytes):
        return None
    owner, vm_id, kind = value.decode().split(":")
    return Link(int(vm_id), kind) if int(owner) == user_id else None


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CONFIG.redis_url, socket_timeout=2.0)


async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """One WebSocket, from its handshake to its end."""
    await receive()
    token = scope["path"].removeprefix(PREFIX)
    opened = await sync_to_async(_open, thread_sensitive=False)(scope, token)
    if opened is None:
        await send({"type": "websocket.close", "code": REFUSED})
        return
    await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in scope["subprotocols"] else None})
    if isinstance(opened, int):
        await send({"type": "websocket.close", "code": opened})
        return
    key, viewer, vm = _session_key(scope), opened.viewer, opened.vm
    leave = until_refused(lambda: _viewer_of(key, vm.pk) is not None, viewer.pk, vm.pk)
    bridge = Bridge(opened.channel, receive, send, leave, opened.handshake)
    try:
        await bridge.run()
    finally:
        opened.channel.close()


def _open(scope: dict[str, Any], token: str) -> Opened | int | None:
    """The console; None when the link is no good or it cannot be had, the code where the page is told why."""
    try:
        found = _let_in(scope, token)
        if found is None:
            return None
        viewer, vm, kind = found
        if kind != SCREEN:
            serial = _open_serial(vm, take=kind == TAKE_SERIAL)
            return serial if isinstance(serial, int) else Opened(serial, viewer, vm, NoHandshake())
        channel = _open_vnc(vm)
        return Opened(channel, viewer, vm, rfb.BrowserHandshake()) if channel is not None else None
    finally:
        # No request ends in this thread that would give its connection back.
        connections.close_all()


def _let_in(scope: dict[str, Any], token: str) -> tuple[User, Vm, str] | None:
    """Who connects, to which VM and to what of it; None when they may not, or the link is no good."""
    viewer = user_of(_session_key(scope))
    if viewer is None or not _same_origin(scope):
        return None
    link = use_link(token, viewer.pk)
    found = _viewer_of(_session_key(scope), link.vm_id) if link is not None else None
    return (*found, link.kind) if found is not None and link is not None else None


def _viewer_of(session_key: str | None, vm_id: int) -> tuple[User, Vm] | None:
    """Whose session it is now, and the VM, if its console is theirs to use."""
    viewer = user_of(session_key)
    if viewer is None or not {"vms.view", "vms.console"} <= viewer.rights:
        return None
    vm = find_vm(viewer, vm_id)
    return (viewer, vm) if vm is not None else None


def _open_vnc(vm: Vm) -> Channel | None:
    request_id.bind(None)
    password = "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(8))
    try:
        node = client(vm.node)
        opened = node.call(host.ConsoleOpen(uuid=str(vm.uuid), password=password), deadline=CALL_SECONDS)
        channel = node.open_channel(opened.port)
    except (PanelError, OSError) as error:
        log.warning("the console of %s cannot be opened: %s", vm, error)
        return None
    try:
        channel.settimeout(CALL_SECONDS)
        rfb.sign_in(channel, password)
        channel.settimeout(None)
    except (rfb.Refused, OSError) as error:
        channel.close()
        log.warning("the console of %s cannot be opened: %s", vm, error)
        return None
    return channel


def _open_serial(vm: Vm, *, take: bool) -> Channel | int:
    """The VM's serial port, or the code that says why it cannot be had."""
    request_id.bind(None)
    try:
        channel = client(vm.node).open_serial(str(vm.uuid), take=take)
    except CommandFailed as error:
        return CLOSED_FOR.get(str(error.data["agent_code"]), FAILED)
    except (PanelError, OSError) as error:
        log.warning("the serial port of %s cannot be had: %s", vm, error)
        return FAILED
    channel.settimeout(None)
    return channel


def _session_key(scope: dict[str, Any]) -> str | None:
    cookies = SimpleCookie(_header(scope, b"cookie"))
    morsel = cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel is not None else None


def _same_origin(scope: dict[str, Any]) -> bool:
    """Whether the page that connects is ours."""
    origin, host = _header(scope, b"origin"), _header(scope, b"host")
    if own := own_origin.is_own(origin, host):
        return own
    log.warning("a console is refused: %s", own_origin.why_foreign(origin[:255], host[:255]))
    return False


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class Bridge:
    """Bytes both ways; each side is read only when the other took what came before.

    `leave` ends when the browser's user may not use the console any more, and the bridge with it.
    """

    def __init__(
        self,
        channel: Channel,
        receive: Receive,
        send: Send,
        leave: Coroutine[Any, Any, None],
        handshake: rfb.BrowserHandshake | NoHandshake,
    ) -> None:
        self.channel, self.receive, self.send, self.leave = channel, receive, send, leave
        self.browser = handshake
        # Threads of its own, one a direction: in the shared pool a few open consoles, each waiting for its
        # guest, would leave no thread for anything else.
        self.threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="console")

    async def run(self) -> None:
        """Until either side ends."""
        leave = asyncio.create_task(self.leave)
        tasks = [leave, asyncio.create_task(self._from_browser()), asyncio.create_task(self._from_guest())]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.channel.close()
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if done == {leave}:
            await self.send({"type": "websocket.close", "code": REFUSED, "reason": "You may not use it any more."})
        self.threads.shutdown(wait=False)

    async def _from_browser(self) -> None:
        loop = asyncio.get_running_loop()
        if greeting := self.browser.greeting():
            await self._say(greeting)
        while True:
            message = await self.receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("bytes") or (message.get("text") or "").encode()
            answer, rest = self.browser.feed(data)
            if answer:
                await self._say(answer)
            if rest:
                await loop.run_in_executor(self.threads, self.channel.sendall, rest)

    async def _from_guest(self) -> None:
        loop = asyncio.get_running_loop()
        await self.browser.done.wait()
        while data := await loop.run_in_executor(self.threads, self.channel.recv, BLOCK):
            await self._say(data)
        await self.send({"type": "websocket.close", "code": 1000})

    async def _say(self, data: bytes) -> None:
        await self.send({"type": "websocket.send", "bytes": data})
