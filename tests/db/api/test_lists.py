"""A page of a list costs what it shows, not what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from panel.accounts.models import JournalEntry, User
from panel.cluster.models import Node
from panel.tasks.models import Task
from panel.tasks.selectors import list_tasks
from panel.vms.models import Vm
from panel.vms.selectors import list_vms
from tests.db.conftest import make_node
from tests.db.monitoring.messages import make_vm

MANY = 3000
ENTRIES = 5_000


@pytest.fixture
def many(node: Node, user: User, admin: User) -> None:
    """So much of everything that the database would rather not read it all."""
    nodes = [node, *(make_node(f"fake{number}") for number in range(2, 10))]
    vm = make_vm(node, user, "first")
    made = [
        Vm(
            cluster=vm.cluster,
            node=nodes[number % len(nodes)],
            owner=(user, admin)[number % 2],
            pool=vm.pool,
            name=f"vm{number}",
            memory_mib=128,
            vcpus=1,
        )
        for number in range(MANY)
    ]
    Vm.objects.bulk_create(made, batch_size=1000)
    Task.objects.bulk_create(
        [Task(operation="vm.start", title="Start", owner=(user, admin)[number % 2]) for number in range(MANY)],
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE vms_vm, tasks_task, cluster_node, accounts_user")


LISTINGS: tuple[Callable[[User], QuerySet[Any]], ...] = (list_vms, list_tasks)


QUERIES = ("", "order=name", "order=-name", "node=fake2", "owner=anna", "node=fake2&order=-id")


def test_the_database_sorts_nothing_for_a_page(many: None, admin: User, user: User) -> None:
    for viewer in (admin, user):
        for listing in LISTINGS:
            plan = listing(viewer)[:50].explain()
            assert "filesort" not in plan and "temporary" not in plan, (listing, viewer, plan)
        _sorts_nothing_for_the_api(viewer, of_all=viewer == admin)


def _sorts_nothing_for_the_api(viewer: User, *, of_all: bool) -> None:
    api = APIClient()
    api.force_authenticate(viewer)
    # Customers search by no node.
    for query in (each for each in QUERIES if of_all or "node" not in each):
        first = api.get(f"/api/v1/vms?limit=5&{query}")
        with CaptureQueriesContext(connection) as queries:
            assert api.get(first.json()["next"]).status_code == 200
        (page,) = [each["sql"] for each in queries if "FROM `vms_vm`" in each["sql"] and "LIMIT 6" in each["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {page}")
            plan = str(cursor.fetchall())
        assert "filesort" not in plan and "temporary" not in plan, (query, plan)


SEARCHES = ("user=robot7", "action=act7", "object=web7", "request_id=r7", "object_type=vm&object_id=7")


def test_a_search_of_the_journal_reads_what_it_finds_by_an_index(admin: User) -> None:
    JournalEntry.objects.bulk_create(
        [
            JournalEntry(
                user_id=number % 97,
                user_name=f"robot{number % 97}",
                action=f"act{number % 89}",
                object_type="vm",
                object_id=number % 83,
                object_name=f"web{number % 83}",
                door="rest",
                request_id=f"r{number % 79}",
            )
            for number in range(ENTRIES)
        ],
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE accounts_journalentry")
    api = APIClient()
    api.force_authenticate(admin)
    for query in SEARCHES:
        _reads_by_an_index(api, query)


def _reads_by_an_index(api: APIClient, query: str) -> None:
    first = api.get(f"/api/v1/journal?limit=5&{query}")
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get(first.json()["next"]).json()["results"]) == 5
    (page,) = [each["sql"] for each in queries if "LIMIT 6" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {page}")
        names = [column[0] for column in cursor.description]
        (plan,) = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert plan["key"] not in (None, "PRIMARY") and int(plan["rows"]) < ENTRIES / 10, plan
    assert "filesort" not in plan["Extra"], plan
