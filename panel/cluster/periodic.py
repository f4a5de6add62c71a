"""Cron's entries of the cluster app."""

from __future__ import annotations

import logging
from collections.abc import Collection

from panel.accounts.system import system_user
from panel.cluster.models import Node, NodeState
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.tasks.models import Status, Task

log = logging.getLogger(__name__)


def check_nodes(only: Collection[int] | None = None) -> None:
    """Ask for a check of every node that is in service, or of `only` those of them.

    One that a task holds is left for the next time, and one whose check waits for a worker needs no other.
    """
    operation = registry.get("node.check")
    nodes = Node.objects.filter(state__in=(NodeState.READY, NodeState.UNREACHABLE))
    if only is not None:
        nodes = nodes.filter(pk__in=only)
    waiting = Task.objects.filter(operation=operation.name, status=Status.QUEUED).values("object_id")
    for node_id in nodes.exclude(pk__in=waiting).values_list("pk", flat=True):
        try:
            operation.submit(system_user(), {}, object_id=node_id)
        except PanelError as error:
            log.info("node %s is not checked now: %s", node_id, error)
