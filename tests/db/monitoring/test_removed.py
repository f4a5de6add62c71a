"""A node that is removed while its silence is noticed leaves no problem behind."""

from __future__ import annotations

import threading
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.operations.remove import RemoveNodeParams, delete_record
from panel.monitoring import silence
from panel.monitoring.models import NodeWatch
from panel.notices.models import Problem
from panel.tasks.models import Task
from tests.contract.local_agent import until
from tests.db.at_once import waits_for_a_lock


def test_a_node_that_is_removed_while_its_silence_is_noticed_leaves_no_problem(node: Node) -> None:
    NodeWatch.objects.create(node=node, heard_at=timezone.now() - timedelta(hours=1))
    ctx = NodeContext(Task(object_type="node", object_id=node.pk), RemoveNodeParams())

    def notice() -> None:
        silence.mark_silent()
        connection.close()

    noticing = threading.Thread(target=notice)
    with transaction.atomic():
        delete_record(ctx)
        noticing.start()
        until(lambda: waits_for_a_lock() or not noticing.is_alive())
    noticing.join(timeout=30)
    assert not noticing.is_alive()
    assert not Problem.objects.filter(open_key__isnull=False).exists()


def test_a_node_whose_silence_was_just_noticed_takes_the_problem_with_it(node: Node) -> None:
    NodeWatch.objects.create(node=node, heard_at=timezone.now() - timedelta(hours=1))
    ctx = NodeContext(Task(object_type="node", object_id=node.pk), RemoveNodeParams())
    silence.mark_silent()
    assert Problem.objects.filter(open_key__isnull=False).exists()
    delete_record(ctx)
    assert not Problem.objects.filter(open_key__isnull=False).exists()
