"""GET /vms/N/history: back in time, page by page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from tests.db.monitoring.messages import make_vm

MANY = 230


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A VM with a long history, of which ten changes at a time bear the same moment."""
    vm = make_vm(node, user, "web1")
    since = timezone.now() - timedelta(days=1)
    for number in range(MANY):
        made(vm, node, since + timedelta(minutes=number // 10), epoch=number // 20, sequence=number % 5)
    # Found as it was before: that is no history.
    made(vm, node, timezone.now(), repeated=True)
    return vm


def made(vm: Vm, node: Node, at: Any, **fields: Any) -> None:
    """One change."""
    StatusChange.objects.create(vm=vm, status=VmStatus.RUNNING, at=at, node=node, cause=Cause.OUTSIDE, **fields)


def ids(api: APIClient, vm: Vm, **query: int) -> list[int]:
    """The changes of one answer."""
    answer = api.get(f"/api/v1/vms/{vm.pk}/history", query)
    assert answer.status_code == 200, answer.json()
    return [each["id"] for each in answer.json()]


@pytest.mark.parametrize(("limit", "pages"), [(7, 33), (200, 2)])
def test_page_after_page_tells_every_change_once_and_in_its_order(
    api_as_user: APIClient, vm: Vm, limit: int, pages: int
) -> None:
    found = [ids(api_as_user, vm, limit=limit)]
    while len(found[-1]) == limit:
        found.append(ids(api_as_user, vm, limit=limit, before=found[-1][-1]))
    whole = list(StatusChange.objects.filter(vm=vm, repeated=False).values_list("pk", flat=True))
    assert [each for page in found for each in page] == whole
    assert len(found) == pages


def test_without_a_limit_it_is_fifty_and_the_oldest_has_none_before_it(api: APIClient, vm: Vm) -> None:
    assert len(ids(api, vm)) == 50
    oldest = StatusChange.objects.filter(vm=vm).last()
    assert oldest is not None and ids(api, vm, before=oldest.pk) == []


def test_a_page_costs_the_same_anywhere(api: APIClient, vm: Vm) -> None:
    counts, before = set(), ids(api, vm, limit=200)[-1]
    for query in ({"limit": 2}, {"limit": 200}, {"limit": 200, "before": before}):
        with CaptureQueriesContext(connection) as queries:
            ids(api, vm, **query)
        counts.add(len(queries) - ("before" in query))
    assert len(counts) == 1


def test_the_database_sorts_nothing_for_a_page(vm: Vm) -> None:
    plan = vm.status_changes.filter(repeated=False)[:50].explain()
    assert "filesort" not in plan, plan


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"limit": "ten"}, {"before": "x"}, {"before": -1}, {"before": 0}, {"before": 2**63}],
)
def test_what_is_no_page_is_refused(api: APIClient, vm: Vm, query: dict[str, Any]) -> None:
    answer = api.get(f"/api/v1/vms/{vm.pk}/history", query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
    assert answer.json()["field"] == next(iter(query))


def test_a_change_of_another_vm_is_no_place_to_go_on(api: APIClient, vm: Vm, node: Node, user: User) -> None:
    other = make_vm(node, user, "web2")
    made(other, node, timezone.now())
    change = StatusChange.objects.get(vm=other)
    answer = api.get(f"/api/v1/vms/{vm.pk}/history", {"before": change.pk})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
