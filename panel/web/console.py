"""The console bridge: a browser's WebSocket to QEMU's VNC on the node, through the node's ssh session.

The link is single-use, lives for seconds, and is bound to the session that asked. The panel signs in to
QEMU itself with a one-time password and tells the browser that no password is needed, so the
browser never has one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
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
from panel.core.errors import PanelError
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
PREFIX = "/console/"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def make_link(user_id: int, vm_id: int) -> str:
    """A token that opens the VM's console for this user, once, within LINK_SECONDS."""
    token = secrets.token_urlsafe(24)
    _redis().set(f"vmpanel:console:{token}", f"{user_id}:{vm_id}", ex=LINK_SECONDS)
    return token


def use_link(token: str, user_id: int) -> int | None:
    """The id of the VM that the token opens for this user; a token is used up by asking."""
    value = _redis().getdel(f"vmpanel:console:{token}")
    if not isinstance(value, bytes):
        return None
    owner, _, vm_id = value.decode().partition(":")
    return int(vm_id) if int(owner) == user_id else None


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
    channel, viewer, vm = opened
    await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in scope["subprotocols"] else None})
    key = _session_key(scope)
    leave = until_refused(lambda: _viewer_of(key, vm.pk) is not None, viewer.pk, vm.pk)
    bridge = Bridge(channel, receive, send, leave)
    try:
        await bridge.run()
    finally:
        channel.close()


def _open(scope: dict[str, Any], token: str) -> tuple[Channel, User, Vm] | None:
    """A channel to the VM's VNC, signed in; None when the link is no good or the console cannot be had."""
    try:
        found = _let_in(scope, token)
        channel = _open_vnc(found[1]) if found is not None else None
        return (channel, *found) if found is not None and channel is not None else None
    finally:
        # No request ends in this thread that would give its connection back.
        connections.close_all()


def _let_in(scope: dict[str, Any], token: str) -> tuple[User, Vm] | None:
    """Who connects, and to which VM; None when they may not, or the link is no good."""
    viewer = user_of(_session_key(scope))
    if viewer is None or not _same_origin(scope):
        return None
    vm_id = use_link(token, viewer.pk)
    return _viewer_of(_session_key(scope), vm_id) if vm_id is not None else None


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

    def __init__(self, channel: Channel, receive: Receive, send: Send, leave: Coroutine[Any, Any, None]) -> None:
        self.channel, self.receive, self.send, self.leave = channel, receive, send, leave
        self.browser = rfb.BrowserHandshake()
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
        await self._say(self.browser.greeting())
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
