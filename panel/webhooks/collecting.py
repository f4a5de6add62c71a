"""From the stream of live events to deliveries. One worker at a time reads on from where the last one stopped.

Redis may lose the stream. What matters to billing does not get lost with it: the ends of tasks are then read from the
database, back to the last position.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.redaction import Redaction, known_names
from panel.core import live
from panel.core.live import STREAM, may_see
from panel.core.redis_client import client
from panel.core.wording import read_in
from panel.tasks.live import told
from panel.tasks.models import ENDED, Task
from panel.webhooks import events
from panel.webhooks.models import Delivery, Position, Webhook

log = logging.getLogger(__name__)
ONE_READ = 500
LONGEST_GAP = timedelta(days=1)
BEGINNING = "0-0"


def collect() -> int:
    """Make deliveries of what happened since the last time; answers how many events were read."""
    try:
        with transaction.atomic():
            Position.objects.get_or_create(pk=1)
            position = Position.objects.select_for_update(skip_locked=True).filter(pk=1).first()
            if position is None:
                return 0  # another worker is at it
            webhooks = _webhooks()
            found, last = _read(position.last_id, webhooks)
            if last != position.last_id:
                Position.objects.filter(pk=1).update(last_id=last)
            Delivery.objects.bulk_create(_deliveries(webhooks, found), ignore_conflicts=True)
            return len(found)
    except redis.RedisError as error:
        log.warning("webhooks cannot read events: %s", error)
        return 0


def _webhooks() -> list[Webhook]:
    """Those that are to be told, each owner narrowed to the rights of the token that made the webhook."""
    lasting = Q(token=None) | Q(token__expires_at=None) | Q(token__expires_at__gt=timezone.now())
    found = Webhook.objects.filter(lasting, active=True, owner__is_active=True).select_related("owner__role", "token")
    webhooks = list(found)
    for webhook in webhooks:
        if webhook.token is not None and webhook.token.rights is not None:
            webhook.owner.scope = frozenset(webhook.token.rights)
    return webhooks


def _read(last: str, webhooks: list[Webhook]) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """Events with their ids, and the new position."""
    try:
        info: Any = client().xinfo_stream(STREAM)
    except redis.ResponseError:
        # Nothing was ever told, and the first event will be; or Redis lost it all, and the position says so.
        return [], last or BEGINNING
    end = info["last-generated-id"].decode()
    if not webhooks or not last:
        return [], end
    first = info["first-entry"]
    lost = _number(last) > _number(end) or (
        last != BEGINNING and first is not None and _number(last) < _number(first[0].decode())
    )
    found = _ends_since(last) if lost else []
    if lost:
        log.warning("events before %s were lost; the ends of tasks are read from the database", end)
        last = "0-0"
    answer: Any = client().xread({STREAM: last}, count=ONE_READ)
    entries = [(key.decode(), json.loads(fields[b"event"])) for key, fields in (answer[0][1] if answer else [])]
    return found + entries, entries[-1][0] if entries else end


def _number(position: str) -> tuple[int, int]:
    first, _, second = position.partition("-")
    return int(first), int(second)


def _ends_since(position: str) -> list[tuple[str, dict[str, Any]]]:
    since = max(datetime.fromtimestamp(_number(position)[0] / 1000, UTC), timezone.now() - LONGEST_GAP)
    ended = Task.objects.filter(status__in=ENDED, finished_at__gte=since).order_by("pk")[:ONE_READ]
    # As they would have come from the stream.
    return [(position, json.loads(live.as_text("task", told(task)))) for task in ended]


def _owners(found: Iterable[dict[str, Any]]) -> dict[int, str]:
    ids = {event["owner"] for event in found if event.get("owner") is not None}
    return dict(User.objects.filter(pk__in=ids).values_list("pk", "name"))


def _deliveries(webhooks: list[Webhook], found: list[tuple[str, dict[str, Any]]]) -> list[Delivery]:
    now = timezone.now()
    names = known_names() if webhooks and found else None
    owners = _owners(event for _position, event in found) if webhooks else {}
    redacts = {webhook.pk: Redaction(webhook.owner, names) for webhook in webhooks}
    made = []
    for position, event in found:
        name = events.named(event)
        for webhook in webhooks if name else ():
            owner: User = webhook.owner
            if name and events.wanted(name, webhook.events) and may_see(owner, event):
                with read_in(webhook.language):
                    outward = live.outward(redacts[webhook.pk].event(event), owners)
                data = {key: value for key, value in outward.items() if key != "topic"}
                key = events.key_of(event, name, position)
                made.append(Delivery(webhook=webhook, key=key, event=name, data=data, next_try_at=now))
    return made
