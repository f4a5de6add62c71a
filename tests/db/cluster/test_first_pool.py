"""The pool that a new cluster begins with."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from panel.cluster.selectors import default_cluster
from panel.storage.models import Pool
from panel.storage.services import ensure_default_pool
from tests.contract.local_agent import until
from tests.db.at_once import waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


def test_nodes_that_are_added_at_the_same_time_get_one_and_the_same() -> None:
    cluster, found = default_cluster(), []

    def other_node() -> None:
        try:
            found.append(ensure_default_pool(cluster))
        finally:
            connection.close()

    other = threading.Thread(target=other_node)
    with transaction.atomic():
        found.append(ensure_default_pool(cluster))
        other.start()
        until(lambda: waits_for_a_lock() or not other.is_alive())
    other.join(timeout=30)
    assert found == [Pool.objects.get()] * 2
