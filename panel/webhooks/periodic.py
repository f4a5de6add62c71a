"""What the webhooks app does by itself: in every sweep of a worker, and by cron."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from panel.core.purging import delete_in_batches
from panel.webhooks.collecting import collect
from panel.webhooks.delivering import Deliverer
from panel.webhooks.models import Delivery, DeliveryState

AT_ONCE = 200
_deliverer = Deliverer()


def collect_and_send() -> None:
    """Take in events, and send what is due: every owner's first before anybody's second."""
    collect()
    now = timezone.now()
    due = Delivery.objects.filter(state=DeliveryState.WAITING, next_try_at__lte=now, webhook__active=True)
    turn = Window(RowNumber(), partition_by="webhook__owner", order_by=["next_try_at", "pk"])
    found = due.annotate(turn=turn).order_by("turn", "next_try_at", "pk").values_list("pk", "webhook__owner")
    _deliverer.offer(found[:AT_ONCE])


def purge() -> None:
    """Delete deliveries older than WebhookDays, a bounded number at a time."""
    before = timezone.now() - timedelta(days=settings.CONFIG.webhook_days)
    delete_in_batches(Delivery.objects.filter(created_at__lt=before).order_by("created_at"))
