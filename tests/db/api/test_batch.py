"""Many calls as one: in their order, with references, and all or none where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts import throttling
from panel.accounts.models import Token, User
from panel.accounts.tokens import create_token
from panel.api import batch, batch_undo
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure
from panel.images.models import Image
from panel.tasks.models import Task
from panel.vms.models import Vm
from tests.db.conftest import run_task
from tests.db.monitoring.messages import make_vm

PATH = "/api/v1/batch"


def new_vm(name: str) -> dict[str, Any]:
    """A call that makes a VM."""
    return post("vms", {"name": name, "image": "small", "flavor": "small"})


def post(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A call that changes something."""
    return {"method": "POST", "path": f"/api/v1/{path}", "body": body or {}}


def get(path: str) -> dict[str, Any]:
    """A call that reads."""
    return {"method": "GET", "path": f"/api/v1/{path}"}


def test_calls_are_answered_as_they_would_be_alone(api: APIClient, node: Node, image: Image) -> None:
    calls = [get("me"), new_vm("web1"), get("vms/999"), post("vms", {"name": ""})]
    answer = api.post(PATH, {"calls": calls})
    assert (answer.status_code, answer.json()["id"]) == (200, None)
    assert [each["status"] for each in answer.json()["results"]] == [200, 202, 404, 400]
    assert answer.json()["results"][0]["body"]["name"] == "admin"
    assert answer.json()["results"][3]["body"]["field"] == "name"


def test_a_call_refers_to_what_an_earlier_one_answered(api: APIClient, node: Node, image: Image) -> None:
    calls = [
        new_vm("web1"),
        get("vms/{0.vm}?fields=name"),
        post("tokens", {"name": {"$ref": "1.name"}}),
        post("vms/{0.vm}/force-off?queue=1"),
    ]
    results = api.post(PATH, {"calls": calls, "atomic": True}).json()["results"]
    assert [each["status"] for each in results] == [202, 200, 201, 202]
    assert results[2]["body"]["name"] == "web1"
    assert results[3]["body"]["task"]["object_id"] == results[0]["body"]["vm"]


def test_of_an_atomic_batch_nothing_stands_when_one_call_is_refused(api: APIClient, node: Node, image: Image) -> None:
    calls = [new_vm("web1"), post("tokens", {"name": "t"}), new_vm("web1")]
    answer = api.post(PATH, {"calls": calls, "atomic": True})
    assert (answer.status_code, answer.json()["code"], answer.json()["call"]) == (409, "already_exists", 2)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (Vm.objects.count(), Task.objects.count(), Token.objects.count()) == (0, 0, 0)


def test_when_a_task_of_an_atomic_batch_fails_the_others_are_undone(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    standing = make_vm(node, User.objects.get(), "standing")
    calls = [new_vm("web1"), post(f"vms/{standing.pk}/suspend", {"reason": "x"}), new_vm("web2"), new_vm("web3")]
    made = api.post(PATH, {"calls": calls, "atomic": True}).json()
    first, stays, failing, waiting = [Task.objects.get(pk=each["body"]["task"]["id"]) for each in made["results"]]
    assert run_task(first).status == "done"
    run_task(stays)
    batch_undo.settle()
    assert api.get(f"{PATH}/{made['id']}").json()["state"] in ("open", "undoing")

    refusal = LibvirtFailure(node="fake1", command="host_start", text="no emulator", libvirt_code=1)
    fake.node(node.pk).fail("host_start", refusal)
    assert run_task(failing).status == "failed"
    batch_undo.settle()
    assert api.get(f"{PATH}/{made['id']}").json()["state"] == "undoing"
    run_tasks()
    batch_undo.settle()
    batch_undo.settle()

    told = api.get(f"{PATH}/{made['id']}").json()
    undone = {call["position"]: call["undo"] for call in told["calls"]}
    assert told["state"] == "failed"
    assert (undone[0], undone[2], undone[3]) == ("removed", "", "cancelled")
    assert list(Vm.objects.values_list("name", flat=True)) == ["standing"]
    assert Task.objects.get(pk=waiting.pk).status == "cancelled"


def test_an_atomic_batch_whose_tasks_are_done_is_done(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    made = api.post(PATH, {"calls": [new_vm("web1"), new_vm("web2")], "atomic": True}).json()
    batch_undo.settle()
    assert api.get(f"{PATH}/{made['id']}").json()["state"] == "open"
    run_tasks()
    batch_undo.settle()
    assert api.get(f"{PATH}/{made['id']}").json()["state"] == "done"
    assert Vm.objects.count() == 2


def test_the_same_batch_with_a_key_is_carried_out_once(api: APIClient, node: Node, image: Image) -> None:
    body = {"calls": [new_vm("web1"), post("tokens", {"name": "t"})]}
    first, again = (api.post(PATH, body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == again.json()
    assert (Vm.objects.count(), Token.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    "call",
    [
        get("nothing"),
        get("events"),
        get("docs"),
        post("batch", {"calls": []}),
        post("auth/token", {"name": "admin", "password": "correct horse"}),
        {"method": "GET", "path": "/vms"},
        {"method": "GET", "path": "//elsewhere/api/v1/me"},
        {"method": "GET", "path": "https://elsewhere/api/v1/me"},
        {"method": "OPTIONS", "path": "/api/v1/me"},
        get("vms/{0.vm}"),
        get("vms/{7.vm}"),
        post("tokens", {"name": {"$ref": "x"}}),
        post("tokens", {"name": {"$ref": 7}}),
    ],
)
def test_what_cannot_be_called_in_a_batch_is_refused(api: APIClient, call: dict[str, Any]) -> None:
    answer = api.post(PATH, {"calls": [call]})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
    assert answer.json()["field"].startswith("calls")


def test_a_batch_has_at_most_fifty_calls(api: APIClient) -> None:
    assert api.post(PATH, {"calls": [get("me")] * 51}).status_code == 400
    assert api.post(PATH, {"calls": []}).status_code == 400


def test_a_batch_of_a_browser_knows_which_session_asks(user: User) -> None:
    throttling.client().flushall()
    browser, other = Client(), Client()
    for each in (browser, other):
        each.post("/login", {"username": "anna", "password": "correct horse"}, secure=True)
    change = {"current": "correct horse", "password": "battery staple"}
    calls = [get("me/sessions"), post("me/password", change), {"method": "DELETE", "path": "/api/v1/me/sessions"}]
    answer = browser.post(PATH, {"calls": calls}, content_type="application/json", secure=True)
    results = answer.json()["results"]
    assert [each["status"] for each in results] == [200, 204, 204]
    assert sorted(each["current"] for each in results[0]["body"]["results"]) == [False, True]
    assert browser.get("/api/v1/me", secure=True).status_code == 200
    assert other.get("/api/v1/me", secure=True).status_code == 401


def test_a_browser_stays_signed_in_where_its_new_password_is_undone_with_the_batch(user: User) -> None:
    throttling.client().flushall()
    browser = Client()
    browser.post("/login", {"username": "anna", "password": "correct horse"}, secure=True)
    change = {"current": "correct horse", "password": "battery staple"}
    body = {"calls": [post("me/password", change), get("vms/999")], "atomic": True}
    answer = browser.post(PATH, body, content_type="application/json", secure=True)
    assert (answer.status_code, answer.json()["call"]) == (404, 1)
    assert User.objects.get(pk=user.pk).check_password("correct horse")
    assert browser.get("/api/v1/me", secure=True).status_code == 200


def test_a_batch_gives_no_right_that_its_caller_has_not(node: Node, user: User, admin: User) -> None:
    other = make_vm(node, admin, "other")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {create_token(user, 't', rights=['vms.view'])[1]}")
    calls = [get(f"vms/{other.pk}"), post(f"vms/{other.pk}/start"), get("nodes"), get("vms")]
    results = client.post(PATH, {"calls": calls}, format="json").json()["results"]
    assert [each["status"] for each in results] == [404, 403, 403, 200]
    assert results[3]["body"]["results"] == []


def test_what_references_stand_for_is_bounded_before_it_is_written_out(
    api: APIClient, admin: User, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        make_vm(node, admin, f"web{number}")
    calls = [get("vms"), post("tokens", {"name": [{"$ref": "0.results"}] * 2000})]
    written: list[int] = []
    dumps = batch.json.dumps
    monkeypatch.setattr(
        batch.json, "dumps", lambda value, **more: (written.append(len(text := dumps(value, **more))), text)[1]
    )
    answer = api.post(PATH, {"calls": calls})
    assert answer.status_code == 400, answer.content[:500]
    assert (answer.json()["field"], answer.json()["code"]) == ("calls.1.body", "invalid_value")
    assert max(written) < 1024 * 1024
    # What is small may be referred to as often as there is room for it.
    calls[1] = post("tokens", {"name": [{"$ref": "0.results.0.id"}] * 2000})
    results = api.post(PATH, {"calls": calls}).json()["results"]
    assert (results[1]["status"], results[1]["body"]["field"]) == (400, "name")
