"""What the webhooks room does by itself: in every sweep of a worker, and by cron."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from panel.core.purging import delete_in_batches
from panel.webhooks.collecting import collect
from panel.webhooks.models import Delivery, DeliveryState

log = logging.getLogger(__name__)
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
    """Delete deliveries older than WebhookDays, a bounded number at a time."""
    before = timezone.now() - timedelta(days=settings.CONFIG.webhook_days)
    delete_in_batches(Delivery.objects.filter(created_at__lt=before).order_by("created_at"))
