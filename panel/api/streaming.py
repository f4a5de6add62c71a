"""Bodies that are files: read by their views piece by piece, as they arrive.

Django's ASGI handler copies a whole body to the disk before anything has looked who sends it. Of the calls named here
it is given an empty one; the view's thread fetches the real one from the event loop (body_of), after it has found that
the caller may send it. What is on the way is one piece, and no other request waits. Of all other calls it is given
no more than the largest body that any of them takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.http.request import UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from panel.images.incoming import Stream
from panel.monitoring.internal import LARGEST_BATCH

STREAMED = {("POST", "/api/v1/isos")}
STALL_SECONDS = 60.0
"""How long nothing may arrive before the caller counts as gone."""
LINGER_SECONDS, LINGER_SILENT_SECONDS = 30.0, 5.0
"""How long a refused body is still taken in, and how long nothing of it may arrive."""
_BODY = "vmpanel.body"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Body:
    """The body of a request, for a thread that is not the event loop's."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self.receive, self.loop = receive, loop
        self.over = False

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` or a little more; none at the end. Raises UnreadablePostError where they stop."""
        return asyncio.run_coroutine_threadsafe(self._next(size), self.loop).result()

    async def _next(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and not self.over:
            try:
                message = await asyncio.wait_for(self.receive(), STALL_SECONDS)
            except TimeoutError as error:
                self.over = True
                raise UnreadablePostError("nothing arrives any more") from error
            if message["type"] == "http.disconnect":
                self.over = True
                raise UnreadablePostError("the client is gone")
            found += message.get("body", b"")
            self.over = not message.get("more_body", False)
        return bytes(found)

    async def throw_away(self) -> None:
        """Take in what still comes of it, for a while; on the event loop, when its thread reads no more."""
        until = time.monotonic() + LINGER_SECONDS
        while not self.over and (left := until - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self.receive(), min(left, LINGER_SILENT_SECONDS))
            except TimeoutError:
                return
            self.over = not message.get("more_body", False)


class AnyBody(BaseParser):
    """Takes every body and leaves it where it is: the view reads it."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """Nothing."""
        return {}


def is_meant(scope: dict[str, Any]) -> bool:
    """Whether the body of this request is a file."""
    return (scope["method"], scope["path"]) in STREAMED


def set_aside(scope: dict[str, Any], receive: Receive, send: Send) -> tuple[dict[str, Any], Receive, Send]:
    """The request without its body, which the view finds by body_of(), and how it is answered."""
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    body = Body(receive, asyncio.get_running_loop())

    async def nothing() -> dict[str, Any]:
        # Then Django looks whether the client goes away, until it is cancelled; the view will notice.
        return waiting.pop() if waiting else await asyncio.Future()

    async def answer(message: dict[str, Any]) -> None:
        # Where a connection is closed while its client still sends, the client's system throws the answer away unread.
        if message["type"] == "http.response.body" and not message.get("more_body", False) and not body.over:
            await send({**message, "more_body": True})
            await body.throw_away()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return {**scope, _BODY: body}, nothing, answer


def bounded(receive: Receive) -> Receive:
    """A body of at most a little more than any view takes, so that each refuses it; what follows is thrown away."""
    left = LARGEST_BATCH + 1

    async def some() -> dict[str, Any]:
        nonlocal left
        message = await receive()
        while left <= 0 and message["type"] == "http.request":
            message = await receive()
        left -= len(message.get("body", b""))
        return {**message, "more_body": False} if left <= 0 and message["type"] == "http.request" else message

    return some


def body_of(request: Request) -> Stream:
    """The body of a request as it arrives; where it came by another server than ASGI's, from Django."""
    plain = request._request
    found: Stream = getattr(plain, "scope", {}).get(_BODY) or plain
    return found


def length_of(request: Request) -> int | None:
    """How long the body is said to be."""
    said = request.META.get("CONTENT_LENGTH") or ""
    return int(said) if said.isdigit() else None
