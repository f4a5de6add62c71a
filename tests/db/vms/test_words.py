"""A customer's words are checked at the call by the agent's own rule, so that no task fails by them."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import SshKey, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.images.models import Image
from panel.tasks.models import Status, Task
from panel.vms.models import Vm
from tests.db.conftest import run_task
from tests.db.vms.test_guests import GOOD, vm

__all__ = ["vm"]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJSVXUe2bVVnZg9N5vGUPR4m0SAfqwpH5sYQ4HPEFCC"
BAD_COMMENTS = ("a\tb", "a\u2028b", "a\u0085b", "a\x0bb", "a\u200bb", "a\x00b", "a\u00a0b", "a\u202eb", "x" * 20_000)


def refusals(api: APIClient, vm: Vm, field: str, value: Any) -> list[tuple[int, Any]]:
    """What each operation that takes the field answers to the value: its status and the field."""
    api.post(f"/api/v1/vms/{vm.pk}/force-off", {}, format="json")
    posted = {
        "/api/v1/vms": {**GOOD, "name": "web2"},
        f"/api/v1/vms/{vm.pk}/configure-guest": {},
        f"/api/v1/vms/{vm.pk}/reinstall": {"image": "small"},
        f"/api/v1/vms/{vm.pk}/rescue": {"image": "small"},
        f"/api/v1/vms/{vm.pk}/clone": {"name": "web3"},
    }
    found = [api.post(path, {**raw, field: value}, format="json") for path, raw in posted.items()]
    return [(answer.status_code, answer.json().get("field")) for answer in found]


@pytest.mark.parametrize("comment", BAD_COMMENTS, ids=lambda comment: ascii(comment)[:12])
def test_a_key_that_the_agent_would_not_write_is_refused_at_every_door(api: APIClient, vm: Vm, comment: str) -> None:
    key = f"{KEY} {comment}"
    answer = api.post("/api/v1/ssh-keys", {"name": "laptop", "public_key": key}, format="json")
    assert (answer.status_code, answer.json().get("field")) == (400, "public_key")
    assert refusals(api, vm, "ssh_keys", [key]) == [(400, "ssh_keys")] * 5


@pytest.mark.parametrize("comment", ["", " anna@laptop", " Анна 🔑 at home"])
def test_a_key_that_it_writes_is_taken(api: APIClient, comment: str) -> None:
    answer = api.post("/api/v1/ssh-keys", {"name": "laptop", "public_key": KEY + comment}, format="json")
    assert (answer.status_code, answer.json()["public_key"]) == (201, KEY + comment)


def test_a_key_that_an_earlier_version_took_keeps_nobody_from_a_vm(
    api: APIClient, admin: User, node: Node, image: Image
) -> None:
    SshKey.objects.create(user=admin, name="old", public_key=f"{KEY} a\tb\u2028c")
    task = run_task(Task.objects.get(pk=api.post("/api/v1/vms", GOOD, format="json").json()["task"]["id"]))
    assert task.status == Status.DONE, task.error
    [seed] = fake.node(node.pk).seeds.values()
    assert KEY in str(seed)


def test_a_password_that_no_guest_can_have_is_refused_at_the_call(api: APIClient, vm: Vm) -> None:
    assert refusals(api, vm, "password", "correct\x00horse") == [(400, "password")] * 5


@pytest.mark.parametrize("field", ["title", "description"])
@pytest.mark.parametrize("sign", ["\ufffe", "\uffff", "\x1b", "\u202e"])
def test_what_a_node_s_description_cannot_hold_is_refused(api: APIClient, vm: Vm, field: str, sign: str) -> None:
    answer = api.post(f"/api/v1/vms/{vm.pk}/configure", {field: f"a{sign}b"}, format="json")
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("title", "The\u00a0shop\r\n", "The shop"),
        ("title", "The\r\nshop\u3000", "The shop"),
        ("description", "one\r\ntwo\u00a0three\r", "one\ntwo three"),
    ],
)
def test_blanks_and_line_ends_of_other_systems_are_the_usual_ones(
    api: APIClient, vm: Vm, field: str, value: str, kept: str
) -> None:
    answer = api.post(f"/api/v1/vms/{vm.pk}/configure", {field: value}, format="json")
    assert answer.status_code == 202, answer.json()
    assert run_task(Task.objects.get(pk=answer.json()["task"]["id"])).status == Status.DONE
    vm.refresh_from_db()
    assert getattr(vm, field) == kept
