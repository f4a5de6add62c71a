"""Sending in Celery's processes, so that a slow address holds up nobody: Celery knows only a delivery's id."""

from __future__ import annotations

import logging

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, close_old_connections

from panel.celery import app
from panel.webhooks import sending

log = logging.getLogger(__name__)
DEADLINE_SECONDS = 30
"""For one attempt with all its parts; whoever answers one byte at a time is left. It is tried again later."""


@app.task(name="panel.webhooks.send", soft_time_limit=DEADLINE_SECONDS)
def send_delivery(delivery_id: int) -> None:
    """Make one attempt at delivery `delivery_id` if it is due."""
    close_old_connections()
    try:
        sending.send(delivery_id)
    except SoftTimeLimitExceeded:
        log.warning("delivery %s did not end in time", delivery_id)
    except DatabaseError as error:
        log.error("delivery %s: the database failed (%s); it is tried again", delivery_id, error)
    finally:
        close_old_connections()
