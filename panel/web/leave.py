"""Whether a long connection may go on: asked again at each change of session, rights or owner, and each ASK_SECONDS.

Changes are told by core/live.py's tell_rights(). Event streams, which read those events anyway, do the same themselves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connections

from panel.core.live import ASK_SECONDS, CHANNEL, may_end

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 30.0
"""How long nobody may be able to say whether it may go on."""


async def until_refused(may: Callable[[], bool], user_id: int, vm_id: int | None = None) -> None:
    """Return when `may` answers no, of a connection of the user, to the VM if it is one's console.

    It is asked in a thread. Without Redis it is asked each ASK_SECONDS; and no more where the database is away for
    PATIENCE_SECONDS.
    """
    asking = _Asking(may)
    while True:
        client = redis.asyncio.Redis.from_url(settings.CONFIG.redis_url)
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                while await sync_to_async(asking.ask, thread_sensitive=False)():
                    await _change(channel, user_id, vm_id)
                return
        except redis.RedisError as error:
            log.warning("changes of rights are not told: %s", error)
            if not await sync_to_async(asking.ask, thread_sensitive=False)():
                return
            await asyncio.sleep(ASK_SECONDS)
        finally:
            await client.aclose()


async def _change(channel: redis.asyncio.client.PubSub, user_id: int, vm_id: int | None) -> None:
    """Wait for a change that the connection may end by, at most ASK_SECONDS."""
    until = time.monotonic() + ASK_SECONDS
    while (left := until - time.monotonic()) > 0:
        message = await channel.get_message(ignore_subscribe_messages=True, timeout=left)
        if message is not None and may_end(json.loads(message["data"]), user_id, vm_id):
            return


class _Asking:
    def __init__(self, may: Callable[[], bool]) -> None:
        self.may, self.answered_at = may, time.monotonic()

    def ask(self) -> bool:
        """Whether it may go on; as before while the database is away for a while."""
        try:
            answer = self.may()
        except DatabaseError as error:
            log.warning("whether a connection may go on is not known: %s", error)
            return time.monotonic() - self.answered_at < PATIENCE_SECONDS
        finally:
            # No request ends in this thread that would give its connection back.
            connections.close_all()
        self.answered_at = time.monotonic()
        return answer
