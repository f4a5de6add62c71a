"""Live events: to open pages through Redis publish/subscribe, and into a bounded stream for whoever resumes.

Best effort by design: the database is the truth, pages read it again when they (re)connect, so a
lost event costs freshness only. Call publish() in transaction.on_commit, never before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import redis
from django.db import transaction

from panel.core import kinds, permissions
from panel.core.redis_client import client

CHANNEL = "vmpanel:live"
STREAM = "vmpanel:events"
"""The last events in their order, each under `event` as JSON; Redis forgets the oldest."""
KEPT = 50_000
RIGHTS_CHANGE = "rights"
"""The topic of what nobody is shown: somebody's session, rights or VM ended, or became another's."""
ASK_SECONDS = 10.0
"""How often a long connection asks at least whether it may go on: an event may be lost, and tokens expire."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SEQUENCE_SECONDS = 120
"""For so long an object's last number is known, whatever clocks say; then its next event is later by any of them."""
_PUBLISH = """
local last = tonumber(redis.call('GET', KEYS[3]) or '0')
local sequence = math.max(tonumber(ARGV[2]), last + 1)
local number = string.format('%.0f', sequence)
redis.call('SET', KEYS[3], number, 'EX', ARGV[4])
local event = string.sub(ARGV[1], 1, -2) .. ', "sequence": ' .. number .. '}'
redis.call('PUBLISH', KEYS[1], event)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'event', event)
"""
"""Tells an event with the next number of its object: its time in microseconds, or more where that was told already."""
log = logging.getLogger(__name__)


class Watcher(permissions.Viewer, Protocol):
    """Whoever follows events: an accounts.User, seen from below the accounts app."""

    pk: Any

    @property
    def sees_all(self) -> bool:
        """Whether everybody's objects are the watcher's business."""


def may_see(viewer: Watcher, event: dict[str, Any]) -> bool:
    """Whether an event is the viewer's business."""
    kind = kinds.topics().get(event.get("topic", ""))
    if kind is None or not permissions.allows(viewer, kind.topic_right):
        return False
    return viewer.sees_all or (kind.owned and event.get("owner") == viewer.pk)


def tell_rights(user_id: int | None = None, vm_id: int | None = None) -> None:
    """Once this is committed, have long connections ask again whether they may go on.

    Those of the user, whose session, token, level or rights ended or changed; those of the VM, which belongs to
    somebody else; without either, all.
    """
    transaction.on_commit(lambda: publish(RIGHTS_CHANGE, {"id": 0, "user": user_id, "vm": vm_id}))


def may_end(event: dict[str, Any], user_id: int, vm_id: int | None = None) -> bool:
    """Whether a long connection of the user, to the VM if it is one's console, asks again because of this event."""
    if event.get("topic") != RIGHTS_CHANGE:
        return False
    user, vm = event.get("user"), event.get("vm")
    return (user is None and vm is None) or user == user_id or (vm is not None and vm == vm_id)


def publish(topic: str, payload: dict[str, Any]) -> None:
    """Tell open pages that `topic` ("vm", "node", "task", "problem") changed; `payload` has at least its `id`.

    Never raises: a page that misses this reads the database later.
    """
    publish_many(topic, [payload])


def as_text(topic: str, payload: dict[str, Any]) -> str:
    """The event as it is kept and told."""
    return json.dumps(stamped(topic, payload), default=_plain)


def outward(event: dict[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """The event in REST's form: its owner by name."""
    return {**event, "owner": names.get(event["owner"])} if "owner" in event else event


def stamped(topic: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The event with its own time (`at`; now, unless it knows better) and the `sequence` that it has of its object.

    Of two events of an object the one with the larger sequence is the later, in whatever order they come; where both
    are of one microsecond the second is given the next number as it is told.
    """
    at = payload.get("at") or datetime.now(UTC)
    return {"topic": topic, **payload, "at": at, "sequence": (at - EPOCH) // timedelta(microseconds=1)}


def _plain(value: Any) -> str:
    """Times as REST tells them."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def publish_many(topic: str, payloads: Sequence[dict[str, Any]]) -> None:
    """publish() for many at once, in one exchange with Redis."""
    try:
        with client().pipeline(transaction=False) as pipeline:
            for payload in payloads:
                event = stamped(topic, payload)
                sequence, last = event.pop("sequence"), f"{STREAM}:{topic}:{payload.get('id')}"
                text = json.dumps(event, default=_plain)
                pipeline.eval(_PUBLISH, 3, CHANNEL, STREAM, last, text, sequence, KEPT, SEQUENCE_SECONDS)
            pipeline.execute()
    except redis.RedisError as error:
        log.warning("%d live events were lost: %s", len(payloads), error)
