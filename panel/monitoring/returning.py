"""A node that is held to be unreachable and is heard: its next check need not wait for cron."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Exists, OuterRef

from panel.cluster.models import Node, NodeState
from panel.cluster.periodic import check_nodes
from panel.notices.models import Problem
from panel.tasks.models import Task


def ask_for_checks(heard: Iterable[Node]) -> None:
    """Ask for one check of each of the nodes that is unreachable, unless one was asked for since it is.

    The check itself may find it unreachable still: vmwatch needs no ssh. It is not asked for again then,
    cron does that. Costs nothing while no node of them is unreachable, else one query.
    """
    keys = [f"node:{node.pk}:unreachable" for node in heard if node.state == NodeState.UNREACHABLE]
    if not keys:
        return
    since = {"object_id": OuterRef("object_id"), "created_at__gt": OuterRef("opened_at")}
    asked = Task.objects.filter(operation="node.check", object_type="node", **since)
    problems = Problem.objects.filter(open_key__in=keys).exclude(Exists(asked))
    returned = [int(each or 0) for each in problems.values_list("object_id", flat=True)]
    if returned:
        transaction.on_commit(lambda: check_nodes(returned))
