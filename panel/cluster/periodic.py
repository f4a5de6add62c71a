"""Cron's entries of the cluster room."""

from __future__ import annotations

import logging

from panel.accounts.system import system_user
from panel.cluster.models import Node, NodeState
from panel.core.errors import PanelError
from panel.tasks import registry

log = logging.getLogger(__name__)


def check_nodes() -> None:
    """Ask for a check of every node that is in service; one that a task holds is left for the next time."""
    operation = registry.get("node.check")
    for node_id in Node.objects.filter(state__in=(NodeState.READY, NodeState.UNREACHABLE)).values_list("pk", flat=True):
        try:
            operation.submit(system_user(), {}, object_id=node_id)
        except PanelError as error:
            log.info("node %s is not checked now: %s", node_id, error)
