"""What a generated client relies on: names, what may be left out, and headers that say where to go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.tokens import create_token
from panel.cluster.models import Node
from panel.images.models import Image

MADE = {"name": "web1", "image": "small", "memory_mib": 512, "vcpus": 1, "disk_gib": 1}
CREATED = {
    "users": {"name": "bert"},
    "roles": {"name": "starter", "level": "user", "rights": ["vms.view"]},
    "tokens": {"name": "billing"},
    "ssh-keys": {"name": "laptop", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm2 laptop"},
    "webhooks": {"url": "https://1.1.1.1/hook"},
    "pools": {"name": "more", "path": "/srv/more"},
}


@pytest.fixture
def schema(api: APIClient) -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = api.get("/api/v1/schema?format=json").json()
    return found


def test_a_minimal_order_is_one_for_generated_clients(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    requests = {name: each for name, each in components.items() if name.endswith("Request")}
    with_default = {
        (name, field) for name, each in requests.items() for field, of in each.get("properties", {}).items()
        if "default" in of
    }  # fmt: skip
    assert with_default == set()
    assert requests["CreateVmParamsRequest"]["required"] == ["name"]
    assert "where nothing is said" in str(requests)


def test_each_thing_has_one_name(schema: dict[str, Any]) -> None:
    enums = {name: frozenset(map(str, each["enum"])) for name, each in schema["components"]["schemas"].items()
             if "enum" in each}  # fmt: skip
    twins = {(one, other) for one in enums for other in enums if one.endswith("Enum") and enums[one] == enums[other]}
    assert {pair for pair in twins if not pair[1].endswith("Enum")} == set()
    assert "ClockEnum" not in str(schema)
    names = {call["operationId"] for methods in schema["paths"].values() for call in methods.values()}
    assert {"vm_delete", "node_remove"} <= names and not {"vm_destroy", "node_destroy"} & names


def test_limits_of_a_user_are_what_a_caller_may_set(schema: dict[str, Any], api: APIClient) -> None:
    values = schema["components"]["schemas"]["AccountValuesRequest"]["properties"]
    assert "readOnly" not in values["limits"] and "role" in values
    made = api.post("/api/v1/users", {"name": "carl", "limits": {"vms": 3}}, format="json").json()
    assert made["limits"]["vms"] == 3


@pytest.mark.parametrize("path", CREATED)
def test_what_was_made_says_where_it_is_and_what_was_changed_its_etag(path: str, api: APIClient) -> None:
    answer = api.post(f"/api/v1/{path}", CREATED[path], format="json")
    assert answer.status_code == 201, answer.json()
    assert answer.headers["Location"] == f"/api/v1/{path}/{answer.json()['id']}"
    changes = {"users": {"email": "b@example.org"}, "webhooks": {"active": False}, "pools": {"shared": False}}
    if path in changes:
        changed = api.patch(answer.headers["Location"], changes[path], format="json")
        assert changed.status_code == 200, changed.json()
        assert changed.headers["ETag"] == api.get(answer.headers["Location"]).headers["ETag"]
    policies = api.patch("/api/v1/cluster", {}, format="json")
    assert policies.headers["ETag"] == api.get("/api/v1/cluster").headers["ETag"]


def test_an_order_that_is_asked_for_again_says_that_it_was_replayed(node: Node, image: Image, api: APIClient) -> None:
    first, again = (api.post("/api/v1/vms", MADE, format="json", headers={"Idempotency-Key": "order-1"}) for _ in "ab")
    assert first.json()["task"]["id"] == again.json()["task"]["id"]
    assert "Idempotency-Replayed" not in first.headers and again.headers["Idempotency-Replayed"] == "true"


def test_a_token_that_may_ask_for_a_task_may_follow_it_and_no_other(
    node: Node, image: Image, user: User, api: APIClient, run_tasks: Callable[[], None]
) -> None:
    made = api.post("/api/v1/vms", {**MADE, "owner": user.name}, format="json").json()
    run_tasks()
    _token, text = create_token(user, "narrow", rights=["vms.view", "vms.power"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    asked = client.post(f"/api/v1/vms/{made['vm']}/stop", {}, format="json").json()["task"]["id"]
    assert client.get(f"/api/v1/tasks/{asked}").json()["id"] == asked
    assert client.get(f"/api/v1/tasks/{asked}/log").status_code == 200
    assert client.get(f"/api/v1/tasks/{made['task']['id']}").status_code == 403
    assert client.get("/api/v1/tasks").status_code == 403
