"""Lists: filters, order, pages that new rows do not move, fields, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from panel.accounts.models import SshKey, User
from panel.accounts.tokens import create_token
from panel.cluster.models import Node
from panel.images.services import ensure_flavors
from panel.notices.services import open_problem
from panel.tasks.models import Task
from panel.vms.models import Vm
from tests.db.conftest import make_network, make_node
from tests.db.monitoring.messages import make_vm


def together(pages: list[list[Any]]) -> list[Any]:
    """The rows of all pages."""
    return [row for page in pages for row in page]


def walk(api: APIClient, path: str, key: str = "next") -> list[list[Any]]:
    """The ids of the pages from one on."""
    pages = []
    where: str | None = path
    while where:
        answer = api.get(where)
        assert answer.status_code == 200, answer.content
        pages.append([row["id"] for row in answer.json()["results"]])
        where = answer.json()[key]
        assert len(pages) < 100
    return pages


@pytest.fixture
def vms(node: Node, user: User, admin: User) -> list[Vm]:
    """Seven VMs whose names have another order than their ids."""
    return [make_vm(node, user if number % 2 else admin, f"vm{number * 3 % 7}") for number in range(7)]


@pytest.mark.parametrize("order", ["id", "-id", "name", "-name"])
def test_pages_together_are_the_list_in_its_order(api: APIClient, vms: list[Vm], order: str) -> None:
    expected = list(Vm.objects.order_by(order).values_list("pk", flat=True))
    pages = walk(api, f"/api/v1/vms?limit=3&order={order}")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert together(pages) == expected


def test_one_goes_back_the_way_one_came(api: APIClient, vms: list[Vm]) -> None:
    first = api.get("/api/v1/vms?limit=3&order=name").json()
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    assert (first["previous"], third["next"]) == (None, None)
    assert api.get(third["previous"]).json()["results"] == second["results"]
    assert api.get(second["previous"]).json()["results"] == first["results"]
    assert api.get(second["previous"]).json()["previous"] is None


@pytest.mark.parametrize("order", ["id", "name", "-name"])
def test_what_comes_or_goes_moves_no_row_between_pages(
    api: APIClient, vms: list[Vm], node: Node, user: User, order: str
) -> None:
    expected = list(Vm.objects.order_by(order).values_list("pk", flat=True))
    first = api.get(f"/api/v1/vms?limit=3&order={order}").json()
    for name in ("a", "vm0a", "zz"):
        make_vm(node, user, name)
    Vm.objects.filter(pk=expected[2]).delete()
    rest = together(walk(api, first["next"]))
    told = [row["id"] for row in first["results"]] + rest
    assert len(told) == len(set(told))
    assert [pk for pk in told if pk in expected] == expected


def test_tasks_of_one_kind_are_told_newest_first(api: APIClient, admin: User) -> None:
    for number in range(5):
        Task.objects.create(operation=("vm.start", "vm.stop")[number % 2], title="t", owner=admin)
    pages = walk(api, "/api/v1/tasks?limit=2&operation=vm.start")
    assert together(pages) == sorted(together(pages), reverse=True) and len(together(pages)) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("order=memory_mib", "order"),
        ("order=owner__password", "order"),
        ("order=", "order"),
        ("fields=password", "fields"),
        ("fields=", "fields"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=²", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=" + "e" * 2000, "cursor"),
        ("cursor=WyJuYW1lIiwxLDEsZmFsc2Vd", "cursor"),  # of another order
        ("cursor=WyJpZCIse30sMSxmYWxzZV0", "cursor"),  # ["id",{},1,false]
        ("cursor=", "cursor"),
        ("surprise=1", "surprise"),
        ("name=" + "x" * 201, "name"),
    ],
)
def test_what_a_list_does_not_know_is_refused(api: APIClient, query: str, field: str) -> None:
    answer = api.get(f"/api/v1/vms?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_value", field)


def test_filters_by_another_object_name_it(api: APIClient, vms: list[Vm], node: Node) -> None:
    assert len(api.get("/api/v1/vms?owner=anna").json()["results"]) == 3
    assert len(api.get(f"/api/v1/vms?node={node.name}&owner=admin").json()["results"]) == 4
    assert api.get("/api/v1/vms?node=nothing").json()["results"] == []


def test_only_the_fields_that_are_asked_for_are_told(api: APIClient, vms: list[Vm]) -> None:
    rows = api.get("/api/v1/vms?fields=name,status&limit=2").json()["results"]
    assert [set(row) for row in rows] == [{"id", "name", "status"}] * 2
    assert set(api.get(f"/api/v1/vms/{vms[0].pk}?fields=owner").json()) == {"id", "owner"}


LISTS = ("vms", "nodes", "tasks", "images", "isos", "flavors", "networks", "pools", "problems", "tokens", "ssh-keys")


def count(api: APIClient, path: str) -> int:
    """How many queries an answer costs."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert api.get(path).status_code == 200
    return len(queries)


def test_every_list_costs_the_same_for_few_and_for_many(api: APIClient, node: Node, admin: User) -> None:
    def more(first: int, last: int) -> None:
        for number in range(first, last):
            make_vm(node, admin, f"vm{number}")
            make_node(f"other{number}")
            Task.objects.create(operation="vm.start", title="t", owner=admin)
            near = f"10.0.{number}"
            make_network(node.cluster, f"n{number}", f"b{number}", f"{near}.0/24", [(f"{near}.2", f"{near}.9")])
            open_problem(f"p{number}", "text")
            create_token(admin, f"t{number}")
            SshKey.objects.create(user=admin, name=f"k{number}", public_key="ssh-ed25519 AAAA")

    ensure_flavors()
    more(0, 3)
    few = {name: count(api, f"/api/v1/{name}") for name in LISTS}
    more(3, 20)
    assert {name: count(api, f"/api/v1/{name}") for name in LISTS} == few
    assert max(few.values()) <= 10, few
