"""Statistics messages wait in the database for a worker: taking one in is work of a tenth of a second.

The panel's process answers users; what it does besides is short. Nothing is lost by waiting, since a message
bears the time at which it left its node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import OperationalError, transaction
from django.utils import timezone

from panel.cluster.models import Node
from panel.monitoring.models import WaitingStatistics
from panel.monitoring.statistics import intake
from vmwatch import wire

A_STATEMENT = 10
"""Messages, of up to half a megabyte each: MariaDB takes 16 MiB at a time."""
A_SWEEP_SECONDS = 1.0
"""How long one call may go on: the sweep has other things to do."""
KEPT = timedelta(days=1)
LOCK_HELD = 1205
"""MariaDB's error of a lock that NOWAIT did not get (ER_LOCK_WAIT_TIMEOUT)."""
log = logging.getLogger(__name__)


def keep(collected: Iterable[tuple[wire.Message, datetime]]) -> None:
    """Have statistics messages wait, each with the time (by the panel's clock) at which it left its node."""
    WaitingStatistics.objects.bulk_create(
        (WaitingStatistics(node_id=message.node_id, at=at, body=wire.to_body(message)) for message, at in collected),
        batch_size=A_STATEMENT,
    )


def take_waiting(seconds: float = A_SWEEP_SECONDS) -> int:
    """Take in what waits, the oldest first, for about so many seconds; answers how many messages.

    One process at a time does, so that they stay in their order. What cannot be taken in is logged and dropped.
    """
    taken, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with transaction.atomic():
                row = WaitingStatistics.objects.select_for_update(nowait=True).order_by("pk").first()
                if row is None:
                    break
                row.delete()
                _take(row)
        except OperationalError as error:
            if error.args[0] == LOCK_HELD:
                break
            raise
        taken += 1
    return taken


def drop_old() -> None:
    """Drop what has waited for a day, with no worker to take it: the counters go on with the next collection."""
    WaitingStatistics.objects.filter(at__lt=timezone.now() - KEPT).delete()


def _take(row: WaitingStatistics) -> None:
    node = Node.objects.filter(pk=row.node_id).first()
    if node is None:
        return
    try:
        # A savepoint, so that the row goes although what it says does not come in.
        with transaction.atomic():
            intake.take([(wire.from_body(bytes(row.body)), row.at)], {node.pk: node})
    except OperationalError:
        # The database is away or in trouble: the message is taken the next time.
        raise
    except Exception:
        log.exception("statistics of node %s are passed over", row.node_id)
