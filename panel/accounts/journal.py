"""The journal: who did what to which object, when, from where, by which request, before and after.

Written in the transaction of what it tells of, so there is no deed without its entry and no entry without its deed.
Nothing secret is handed in: callers give public values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from panel.accounts.models import JournalEntry, User
from panel.core import origin, permissions, request_id

MOST_AT_ONCE = 5_000
MOST_BATCHES = 20


def record(
    viewer: User | None,
    action: str,
    object_type: str,
    object_id: int | None = None,
    object_name: str = "",
    *,
    owner_id: int | None = None,
    task_id: int | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> JournalEntry:
    """Add an entry; `viewer` is None for somebody who is not known, `action` such as "vm.stop"."""
    where = origin.current()
    return JournalEntry.objects.create(
        user_id=viewer.pk if viewer else None,
        user_name=viewer.name if viewer else "",
        impersonated_by=where.impersonated_by,
        action=action,
        object_type=object_type,
        object_id=object_id,
        object_name=object_name[:255],
        owner_id=owner_id,
        door=where.door,
        address=where.address,
        request_id=request_id.current(),
        task_id=task_id,
        before=dict(before or {}),
        after=dict(after or {}),
    )


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two states what differs, as `before` and `after`."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def list_entries(viewer: User) -> QuerySet[JournalEntry]:
    """The entries that the viewer may read, the newest first: all, or those about the viewer and what they own.

    Raises AccessDenied for a way in that has neither right.
    """
    entries = JournalEntry.objects.order_by("-pk")
    if permissions.allows(viewer, "journal.view"):
        return entries
    permissions.require(viewer, "journal.own")
    # Two indexed reads together; an OR over both columns would read the whole journal.
    return entries.filter(owner_id=viewer.pk) if not viewer.sees_all else entries.filter(user_id=viewer.pk)


def purge() -> int:
    """Forget entries older than JournalDays, MOST_BATCHES times MOST_AT_ONCE at the most; answers how many."""
    limit = timezone.now() - timedelta(days=settings.CONFIG.journal_days)
    count = 0
    for _ in range(MOST_BATCHES):
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM accounts_journalentry WHERE at < %s ORDER BY at LIMIT %s",
                [limit.replace(tzinfo=None), MOST_AT_ONCE],
            )
            count += int(cursor.rowcount)
            if cursor.rowcount < MOST_AT_ONCE:
                break
    return count
