"""How requests come to Django's views: bounded in number, in time and in size, each on one of few threads.

The body is read before a thread is taken and the answer is sent after it was given back, so that whoever sends or
reads slowly holds none; an event stream begins on a thread and lasts without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase

from panel.api import streaming
from panel.api.problems import CONTENT_TYPE, PREFIX, body_of_problem
from panel.core import request_id
from panel.core.gate import Crowded, Gate, Turn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0
"""How long a request may wait for a thread."""
BODY_SECONDS = 30.0
"""How long a body that is no file may take to arrive."""
SEND_SECONDS = 60.0
"""How long a client may take nothing of what it is sent."""
STATEMENT_SECONDS = 30
"""How long one statement of a request may keep the database busy."""
UPLOADS = 8
"""How many bodies that are files are taken in at a time; their threads wait with them."""
KEEP_SECONDS = 300
"""How long a thread's connection to the database is used."""
LIMIT = "VMPANEL_STATEMENT_SECONDS"
RETRY_SECONDS = 2
TEXTS = {
    503: ("overloaded", "Too many requests are under way. Try again in a moment."),
    408: ("too_slow", "The request's body did not arrive in time."),
}


def keep_connection() -> None:
    """Have this thread keep its connection to the database, with a limit to each statement."""
    connection = connections["default"]
    kept = {"CONN_MAX_AGE": KEEP_SECONDS, "CONN_HEALTH_CHECKS": True, LIMIT: STATEMENT_SECONDS}
    connection.settings_dict = {**connection.settings_dict, **kept}


@receiver(connection_created)
def _limit_statements(connection: Any, **_: Any) -> None:
    if (seconds := connection.settings_dict.get(LIMIT)) and connection.mysql_is_mariadb:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION max_statement_time = %s", [seconds])


class _Arrived:
    """A request whose body has arrived; called, it waits for what comes after it: that the client goes away."""

    def __init__(self, body: Any, receive: Receive) -> None:
        self.body, self.receive = body, receive

    async def __call__(self) -> dict[str, Any]:
        return await self.receive()


class Handler(ASGIHandler):
    """Django's handler behind a gate. Middleware and views run on one thread, with no way back to the loop between."""

    def __init__(self) -> None:
        # Not Django's own __init__, which has each middleware go from the loop to the thread and back.
        self.load_middleware()
        config = settings.CONFIG
        self.gate = Gate(config.requests_at_once, config.requests_waiting, WAIT_SECONDS, begin=keep_connection)
        self.uploads = Gate(UPLOADS, UPLOADS, WAIT_SECONDS, "upload", keep_connection)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request: Django's answer, 408 for one that does not arrive, 503 when too many are under way."""
        gate = self.gate
        if streaming.is_meant(scope):
            gate = self.uploads
            scope, receive, send = streaming.set_aside(scope, receive, send)
        else:
            receive = streaming.bounded(receive)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await super().read_body(receive)
        except TimeoutError:
            await _refuse(scope, send, 408)
            return
        except RequestAborted:
            return
        try:
            turn = await gate.enter(_caller(scope))
        except Crowded:
            body.close()
            await _refuse(scope, send, 503)
            return
        async with _ended(turn), ThreadSensitiveContext(executor=turn.executor):
            keeps = gate is self.uploads
            await self.handle(scope, _Arrived(body, receive), _sender(send, None if keeps else turn))

    async def read_body(self, receive: Any) -> Any:
        """The body, which was read before the request had its turn."""
        return receive.body

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        """The answer of middleware and view, from the request's thread."""
        response = await sync_to_async(self.get_response)(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        return response


@contextlib.asynccontextmanager
async def _ended(turn: Turn) -> AsyncIterator[None]:
    try:
        yield
    finally:
        turn.end()


def _sender(send: Send, turn: Turn | None) -> Any:
    """Sends within bounds; with the answer's begin the views are done, and so is the request's turn."""

    async def bounded(message: dict[str, Any]) -> None:
        if turn is not None and message["type"] == "http.response.start":
            turn.end()
        async with asyncio.timeout(SEND_SECONDS):
            await send(message)

    return bounded


def _caller(scope: Scope) -> bytes:
    """Who takes turns: a token or a session, else an address."""
    headers = dict(scope["headers"])
    address = str((scope.get("client") or ("",))[0]).encode()
    return headers.get(b"authorization") or headers.get(b"cookie") or address


async def _refuse(scope: Scope, send: Send, status: int) -> None:
    """Answer without Django: a problem, as REST tells it."""
    token = request_id.bind(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1") or None)
    try:
        code, text = TEXTS[status]
        body = json.dumps({**body_of_problem(status, code, text), "instance": scope["path"]}).encode()
        told = CONTENT_TYPE if scope["path"].startswith(PREFIX) else "application/json"
        headers = {"Content-Type": told, "X-Request-Id": request_id.current(), "Content-Length": str(len(body))}
        if status == 503:
            headers["Retry-After"] = str(RETRY_SECONDS)
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})
    finally:
        request_id.reset(token)
