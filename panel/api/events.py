"""Live events as Server-Sent Events, to be resumed where they were left.

`GET /api/v1/events` tells what the caller may see, from now on, or after the `Last-Event-ID` that it gives. The last
events are kept in a Redis stream (core/live.py); whoever comes back too late for them is told so by the event `reset`
and reads everything anew. A comment each HEARTBEAT_SECONDS keeps the connection, and moves the id on.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from panel.accounts.models import User
from panel.accounts.selectors import name_of
from panel.api.authentication import KEYWORD, caller_now
from panel.api.parameters import refuse_unknown
from panel.api.problems import RETRY_SECONDS, plain_problem
from panel.cluster.redaction import Redaction
from panel.core import kinds
from panel.core.errors import BadCredentials, InvalidValue, PanelError
from panel.core.live import ASK_SECONDS, STREAM, may_end, may_see, outward
from panel.core.wording import Text, current, read_in

HEARTBEAT_SECONDS = 15.0
ONE_READ = 200
BEGINNING = "0-0"
_ID = re.compile(r"(\d{1,20})-(\d{1,20})\Z")
Redis = Any


async def stream(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Every event that the caller may see, until they go away."""
    if request.method != "GET":
        answer = plain_problem(request, 405, "method_not_allowed", "Events are read by GET.")
        answer.headers["Allow"] = "GET"
        return answer
    client: Redis = redis.asyncio.Redis.from_url(settings.CONFIG.redis_url, decode_responses=True)
    try:
        topics = _topics(request)
        viewer, redaction = await sync_to_async(_viewer)(request)
        last, lost = await _position(client, request.headers.get("Last-Event-ID"))
    except PanelError as error:
        await client.aclose()
        error.word(nodes=False)
        answer = plain_problem(request, error.status, error.code, error.message, **error.data)
        if isinstance(error, BadCredentials):
            answer.headers["WWW-Authenticate"] = KEYWORD
        return answer
    except redis.RedisError:
        await client.aclose()
        answer = plain_problem(request, 503, "unavailable", "Events cannot be told now. Try again in a moment.")
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
    told = _events(request, client, viewer, redaction, topics, last, lost, current())
    response = StreamingHttpResponse(told, content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _viewer(request: HttpRequest) -> tuple[User, Redaction]:
    """Who asks, and what is between them and the nodes; raises BadCredentials."""
    try:
        viewer = caller_now(request)
        redaction = Redaction(viewer)
        redaction.read_names()
        return viewer, redaction
    finally:
        # The answer lasts as long as the caller listens; without this its database connection would too.
        connections.close_all()


def _topics(request: HttpRequest) -> frozenset[str]:
    refuse_unknown(request.GET, ("topics",))
    text = request.GET.get("topics")
    if text is None:
        return frozenset(kinds.topics())
    chosen = frozenset(each.strip() for each in text.split(","))
    if not chosen <= set(topics := kinds.topics()):
        raise InvalidValue(
            Text("Topics are {topics}.", {"topics": ", ".join(topics)}), field="topics", allowed=sorted(topics)
        )
    return chosen


def _number(position: str) -> tuple[int, int]:
    first, _, second = position.partition("-")
    return int(first), int(second)


async def _position(client: Redis, asked: str | None) -> tuple[str, bool]:
    """Where to go on, and whether events between that and what the caller has were lost."""
    if asked is not None and not _ID.match(asked):
        raise InvalidValue("“Last-Event-ID” is the id of an event.", field="Last-Event-ID")
    try:
        info = await client.xinfo_stream(STREAM)
    except redis.ResponseError:
        # Nothing was ever told, or Redis lost it all. Not the time now: the first event of this millisecond has its id.
        return BEGINNING, asked is not None
    end, first = info["last-generated-id"], info["first-entry"]
    if asked is None:
        return end, False
    kept = first is not None and _number(first[0]) <= _number(asked) <= _number(end)
    return (asked, False) if kept or asked == end else (end, True)


def _told(event: dict[str, Any], redaction: Redaction, names: dict[int, str], language: str) -> str:
    with read_in(language):
        return json.dumps(outward(redaction.event(event), names))


async def _events(
    request: HttpRequest,
    client: Redis,
    viewer: User,
    redaction: Redaction,
    topics: frozenset[str],
    last: str,
    lost: bool,
    language: str,
) -> AsyncIterator[str]:
    try:
        yield f"retry: 2000\nid: {last}\nevent: {'reset' if lost else 'hello'}\ndata: {{}}\n\n"
        asked_at, names = time.monotonic(), {viewer.pk: viewer.name}
        while True:
            if time.monotonic() - asked_at >= ASK_SECONDS:
                (viewer, redaction), asked_at = await sync_to_async(_viewer)(request), time.monotonic()
            silent = min(HEARTBEAT_SECONDS, ASK_SECONDS - (time.monotonic() - asked_at))
            answer = await client.xread({STREAM: last}, count=ONE_READ, block=max(1, int(silent * 1000)))
            entries = answer[0][1] if answer else []
            told = last
            for last, fields in entries:
                event = json.loads(fields["event"])
                if may_end(event, viewer.pk) or (event["topic"] == "node" and redaction.is_on):
                    # A node may be a new one.
                    viewer, redaction = await sync_to_async(_viewer)(request)
                if event["topic"] in topics and may_see(viewer, event):
                    told = last
                    owner = event.get("owner")
                    if owner is not None and owner not in names:
                        names |= await sync_to_async(name_of)(owner)
                    data = _told(event, redaction, names, language)
                    yield f"id: {last}\nevent: {event['topic']}\ndata: {data}\n\n"
            if not entries or told != last:
                # What is not the caller's moves their position on nevertheless.
                yield f": still here\nid: {last}\n\n"
    except (redis.RedisError, asyncio.CancelledError, BadCredentials):
        # The caller connects again, and is told what it missed or why not.
        return
    finally:
        await client.aclose()
