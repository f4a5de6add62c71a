"""Live events to open pages, as Server-Sent Events.

A page that connects (again) reads its data once more, so a lost event costs freshness only. A browser has one
connection for all its tabs (static/web/events.js): HTTP/1.1 gives it six for everything.
"""

from __future__ import annotations

import asyncio
import json
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
from panel.accounts.session_store import user_of
from panel.cluster.redaction import Redaction
from panel.core.live import ASK_SECONDS, CHANNEL, may_end, outward
from panel.core.live import may_see as may_see
from panel.core.wording import current, read_in

HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 300.0
"""Then the browser connects again."""


async def stream(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Every event that the viewer may see, until the page goes away."""
    found = await sync_to_async(_viewer)(request)
    if found is None:
        return HttpResponse(status=401)
    response = StreamingHttpResponse(_events(request, *found, current()), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _viewer(request: HttpRequest) -> tuple[User, Redaction] | None:
    """Who is signed in by the page's session now, and what is between them and the nodes; None for nobody."""
    try:
        viewer = user_of(request.session.session_key)
        if viewer is None:
            return None
        redaction = Redaction(viewer)
        redaction.read_names()
        return viewer, redaction
    finally:
        # The answer lasts as long as the page is open; without this its database connection would too.
        connections.close_all()


def _told(event: dict[str, Any], redaction: Redaction, names: dict[int, str], language: str) -> str:
    with read_in(language):
        return json.dumps(outward(redaction.event(event), names))


async def _events(request: HttpRequest, viewer: User, redaction: Redaction, language: str) -> AsyncIterator[str]:
    client = redis.asyncio.Redis.from_url(settings.CONFIG.redis_url)
    try:
        async with client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            yield f"event: hello\ndata: {json.dumps({'viewer': viewer.pk})}\n\n"
            names = {viewer.pk: viewer.name}
            until, asked_at = time.monotonic() + LONGEST_SECONDS, -ASK_SECONDS
            while time.monotonic() < until:
                if time.monotonic() - asked_at >= ASK_SECONDS:
                    if (found := await sync_to_async(_viewer)(request)) is None:
                        return
                    (viewer, redaction), asked_at = found, time.monotonic()
                silent = min(HEARTBEAT_SECONDS, ASK_SECONDS - (time.monotonic() - asked_at))
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=max(silent, 0.0))
                if message is None:
                    yield ": still here\n\n"
                    continue
                event = json.loads(message["data"])
                if may_end(event, viewer.pk) or (event["topic"] == "node" and redaction.is_on):
                    # A node may be a new one.
                    asked_at = -ASK_SECONDS
                if may_see(viewer, event):
                    owner = event.get("owner")
                    if owner is not None and owner not in names:
                        names |= await sync_to_async(name_of)(owner)
                    yield f"event: {event['topic']}\ndata: {_told(event, redaction, names, language)}\n\n"
    except (redis.RedisError, asyncio.CancelledError):
        # The browser connects again by itself, and reads what it missed.
        return
    finally:
        await client.aclose()
