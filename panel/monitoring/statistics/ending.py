"""What a domain had counted when a task ended it: booked like a collection, before the task goes on."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import OperationalError, transaction
from django.utils import timezone

from nodeagent.protocol import host
from panel.cluster.models import Node
from panel.core.transactions import again_if_lost
from panel.monitoring.statistics.intake import LONGEST_BOOT, Collection, add
from vmwatch import wire

log = logging.getLogger(__name__)


def take_last(node: Node, told: host.LastCounters, at: datetime) -> None:
    """Take in what the node's agent read of a domain at that time, by the panel's clock, before it ended.

    What does not come in holds up no stop: it is told as not known.
    """
    found = Collection(node, at, [_counted(told)], clock=told.clock, boot=told.boot[:LONGEST_BOOT], final=told.final)
    try:
        again_if_lost(lambda: _add(found))
    except OperationalError:
        # The database is away or in trouble: whoever calls finds that out by himself.
        raise
    except Exception:
        log.exception("the last counters of domain %s of node %s are passed over", told.uuid, node.pk)


def _add(found: Collection) -> None:
    with transaction.atomic():
        add(found, timezone.now())


def _counted(told: host.LastCounters) -> wire.DomainStatistics:
    interfaces = None
    if told.interfaces is not None:
        interfaces = [wire.InterfaceStatistics(**vars(each)) for each in told.interfaces]
    return wire.DomainStatistics(told.uuid, told.run, told.cpu_ns, None, None, None, interfaces)
