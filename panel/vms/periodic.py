"""Cron's entries of the vms app."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max, QuerySet
from django.utils import timezone

from panel.network.models import AddressTerm
from panel.vms.models import StatusChange

REPEATED_DAYS = 2
"""How long an observation may be late; after that those that changed nothing serve nobody."""
BATCH = 2000
MOST_BATCHES = 50


def purge_history() -> None:
    """Delete history that is older than HistoryDays, but never a VM's newest change: it says since when it is so.

    Who had an address is kept for AddressHistoryDays after he had it.
    """
    now = timezone.now()
    _forget_terms(now - timedelta(days=settings.CONFIG.address_history_days))
    _delete(StatusChange.objects.filter(repeated=True, at__lt=now - timedelta(days=REPEATED_DAYS)))
    old = StatusChange.objects.filter(repeated=False, at__lt=now - timedelta(days=settings.CONFIG.history_days))
    newest = StatusChange.objects.filter(repeated=False).values("vm").annotate(newest=Max("at"))
    kept = {(row["vm"], row["newest"]) for row in newest if row["newest"] < now - timedelta(days=1)}
    _delete(old, kept)


def _forget_terms(before: datetime) -> None:
    for _ in range(MOST_BATCHES):
        gone = list(AddressTerm.objects.filter(until__lt=before).values_list("pk", flat=True)[:BATCH])
        if not gone:
            return
        AddressTerm.objects.filter(pk__in=gone).delete()


def _delete(rows: QuerySet[StatusChange], kept: set[tuple[int, object]] | None = None) -> None:
    """Delete in short transactions, so that nobody waits; what is left over goes the next time."""
    after = 0
    for _ in range(MOST_BATCHES):
        batch = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", "vm_id", "at")[:BATCH])
        if not batch:
            return
        after = batch[-1][0]
        gone = [pk for pk, vm_id, at in batch if not kept or (vm_id, at) not in kept]
        StatusChange.objects.filter(pk__in=gone).delete()
