"""What the webhooks room does by itself: in every sweep of a worker, and by cron."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from panel.webhooks.collecting import collect
from panel.webhooks.models import Delivery, DeliveryState

log = logging.getLogger(__name__)
KEEP_DAYS = 30
BATCH = 1000
AT_ONCE = 100


def collect_and_send() -> None:
    """Take in events, and announce what is due."""
    from panel.webhooks.worker import send_delivery

    collect()
    now = timezone.now()
    due = Delivery.objects.filter(state=DeliveryState.WAITING, next_try_at__lte=now, webhook__active=True)
    for delivery_id in due.order_by("next_try_at").values_list("pk", flat=True)[:AT_ONCE]:
        try:
            send_delivery.apply_async((delivery_id,), retry=False)
        except Exception as error:  # kombu raises whatever its transport does
            log.warning("delivery %s could not be announced: %s", delivery_id, error)
            return


def purge() -> None:
    """Delete deliveries older than KEEP_DAYS, a bounded number at a time."""
    old = Delivery.objects.filter(created_at__lt=timezone.now() - timedelta(days=KEEP_DAYS)).order_by("created_at")
    Delivery.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:BATCH])).delete()
