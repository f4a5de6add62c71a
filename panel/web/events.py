"""Live events to open pages, as Server-Sent Events.

A page that connects (again) reads its data once more, so a lost event costs freshness only. A browser has one
connection for all its tabs (static/web/events.js): HTTP/1.1 gives it six for everything.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from panel.accounts.models import User
from panel.cluster.veil import Veil
from panel.core.live import CHANNEL
from panel.core.live import may_see as may_see

HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 300.0
"""Then the browser connects again and shows who it is: nobody hears on for long whose session was ended."""


async def stream(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Every event that the viewer may see, until the page goes away."""
    viewer = await sync_to_async(_viewer)(request)
    if viewer is None:
        return HttpResponse(status=401)
    response = StreamingHttpResponse(
        _events(viewer, await sync_to_async(_veil)(viewer)), content_type="text/event-stream"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _viewer(request: HttpRequest) -> User | None:
    try:
        return request.user if isinstance(request.user, User) and request.user.is_active else None
    finally:
        # The answer lasts as long as the page is open; without this its database connection would too.
        connections.close_all()


def _veil(viewer: User) -> Veil:
    """What is between the viewer and the nodes."""
    try:
        veil = Veil(viewer)
        veil.read_names()
        return veil
    finally:
        connections.close_all()


async def _events(viewer: User, veil: Veil) -> AsyncIterator[str]:
    client = redis.asyncio.Redis.from_url(settings.CONFIG.redis_url)
    try:
        async with client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            yield f"event: hello\ndata: {json.dumps({'viewer': viewer.pk})}\n\n"
            until = time.monotonic() + LONGEST_SECONDS
            while time.monotonic() < until:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=HEARTBEAT_SECONDS)
                if message is None:
                    yield ": still here\n\n"
                    continue
                event = json.loads(message["data"])
                if event["topic"] == "node" and veil.is_on:
                    # It may be a new one.
                    veil = await sync_to_async(_veil)(viewer)
                if may_see(viewer, event):
                    yield f"event: {event['topic']}\ndata: {json.dumps(veil.event(event))}\n\n"
    except (redis.RedisError, asyncio.CancelledError):
        # The browser connects again by itself, and reads what it missed.
        return
    finally:
        await client.aclose()
