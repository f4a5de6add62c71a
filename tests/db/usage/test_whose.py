"""Whom usage was told for stays known, what no VM came of is marked, and what is not had is not billed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.services import change_user
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CommandFailed
from panel.images.models import Image
from panel.usage import ledger
from panel.usage.models import Entry
from panel.vms.models import Vm
from panel.vms.usage import differing
from tests.db.monitoring.messages import make_vm
from tests.stack import wait_until

MADE = {"name": "web1", "image": "small", "memory_mib": 512, "vcpus": 1, "disk_gib": 1}


def bill(api: APIClient, **asked: Any) -> list[dict[str, Any]]:
    """Usage of what is asked for, of the last hour until in a moment."""
    begin = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
    answer = api.get("/api/v1/usage", {"from": begin.isoformat(), **asked})
    assert answer.status_code == 200, answer.json()
    told: list[dict[str, Any]] = answer.json()["results"]
    return told


@pytest.fixture
def noted(node: Node, user: User) -> Vm:
    """A customer's VM that has been there for ten minutes."""
    vm = make_vm(node, user, "web1")
    Entry.objects.create(
        vm_id=vm.pk, sequence=1, at=datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10), uuid=vm.uuid,
        name=vm.name, owner_id=user.pk, owner_name=user.name, vcpus=1, memory_mib=512, disk_gib=1, addresses=1,
        request_id="test",
    )  # fmt: skip
    return vm


def test_a_deleted_customers_usage_is_asked_for_by_name_and_by_id(noted: Vm, user: User, api: APIClient) -> None:
    user_id = user.pk
    noted.delete()
    assert api.delete(f"/api/v1/users/{user_id}").status_code == 204
    for asked in ({"owner": "anna"}, {"owner_id": user_id}):
        (told,) = bill(api, **asked)
        assert [(size["owner"], size["owner_id"]) for size in told["sizes"]] == [("anna", user_id)]
    # Another one of that name is not the former.
    User.objects.create(name="anna")
    assert bill(api, owner="anna") == [] and len(bill(api, owner_id=user_id)) == 1
    assert api.get("/api/v1/usage", {"owner_id": 10**6}).status_code == 404
    assert api.get("/api/v1/usage", {"owner_id": user_id, "owner": "anna"}).json()["field"] == "owner_id"


def test_a_new_name_changes_nothing_that_was_told(noted: Vm, user: User, admin: User, api: APIClient) -> None:
    before = bill(api, owner="anna")
    change_user(admin, user, {"name": "annika"})
    after = bill(api, owner="annika")
    assert [size["owner"] for size in after[0]["sizes"]] == [size["owner"] for size in before[0]["sizes"]] == ["anna"]


def test_names_of_several_former_accounts_are_refused_with_their_ids(noted: Vm, user: User, api: APIClient) -> None:
    Entry.objects.create(
        vm_id=10**6, sequence=1, at=datetime.now(UTC), uuid=noted.uuid, name="x", owner_id=10**6, owner_name="anna",
        vcpus=1, memory_mib=1, disk_gib=1, addresses=1, request_id="test",
    )  # fmt: skip
    user_id = user.pk
    noted.delete()
    user.delete()
    refused = api.get("/api/v1/usage", {"owner": "anna"})
    assert (refused.status_code, refused.json()["allowed"]) == (400, [user_id, 10**6])


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_an_order_of_which_no_vm_came_is_marked(
    how: str, node: Node, image: Image, api: APIClient, run_tasks: Callable[[], None]
) -> None:
    answer = api.post("/api/v1/vms", MADE, format="json").json()
    if how == "failed":
        refusal = CommandFailed(node="fake1", command="host_start", text="no", agent_code="internal")
        fake.node(node.pk).fail("host_start", refusal, times=10)
    else:
        api.post(f"/api/v1/tasks/{answer['task']['id']}/cancel")
    run_tasks()
    last = Entry.objects.filter(vm_id=answer["vm"]).latest("sequence")
    assert (last.exists, last.order) == (False, how)
    wait_until(lambda: ledger.read_clock().now > last.at, "its second is over")
    assert [each["order"] for each in bill(api)] == [how]


def test_memory_that_waits_for_the_next_start_is_billed_from_then_on(
    node: Node, image: Image, api: APIClient, run_tasks: Callable[[], None]
) -> None:
    vm = api.post("/api/v1/vms", MADE, format="json").json()["vm"]
    run_tasks()

    def billed() -> int:
        return Entry.objects.filter(vm_id=vm).latest("sequence").memory_mib

    api.post(f"/api/v1/vms/{vm}/configure", {"memory_mib": 1024, "max_memory_mib": 1024}, format="json")
    assert billed() == 512
    run_tasks()
    assert [each["field"] for each in Vm.objects.get(pk=vm).pending if each["field"] == "memory_mib"] == ["memory_mib"]
    assert billed() == 512 and list(differing()) == []
    api.post(f"/api/v1/vms/{vm}/force-off", {}, format="json")
    run_tasks()
    assert billed() == 1024
    # What is taken back before it was had was never billed.
    api.post(f"/api/v1/vms/{vm}/start", {}, format="json")
    run_tasks()
    entries = Entry.objects.filter(vm_id=vm).count()
    asked = api.post(f"/api/v1/vms/{vm}/configure", {"memory_mib": 2048, "max_memory_mib": 2048}, format="json")
    api.post(f"/api/v1/tasks/{asked.json()['task']['id']}/cancel")
    run_tasks()
    assert Entry.objects.filter(vm_id=vm).count() == entries and billed() == 1024
    assert Vm.objects.get(pk=vm).pending == []
