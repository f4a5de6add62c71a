"""Who did what to which object, when, from where, by which request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts import journal
from panel.accounts.models import JournalEntry, User
from panel.accounts.tokens import create_token
from panel.cluster.models import Node
from panel.images.models import Image


def test_an_operation_stands_in_the_journal_with_its_request(user: User, node: Node, image: Image) -> None:
    _token, text = create_token(user, "mine")
    client = APIClient(REMOTE_ADDR="198.51.100.7")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    body = {"name": "web1", "flavor": "tiny", "image": "small", "password": "correct horse battery"}
    made = client.post("/api/v1/vms", body, headers={"X-Request-Id": "order-17"})
    assert made.status_code == 202, made.json()
    entry = JournalEntry.objects.get(action="vm.create")
    assert (entry.user_name, entry.door, entry.address) == ("anna", "rest", "198.51.100.7")
    assert (entry.request_id, entry.task_id, entry.object_name) == ("order-17", made.json()["task"]["id"], "web1")
    assert entry.owner_id == user.pk and entry.after["image"] == "small"
    assert "correct horse battery" not in str(vars(entry))


def test_what_is_refused_leaves_no_entry(api_as_user: APIClient) -> None:
    assert api_as_user.post("/api/v1/vms", {"name": "web1"}).status_code == 400
    assert not JournalEntry.objects.exists()


def test_a_change_tells_before_and_after(api: APIClient, user: User) -> None:
    api.patch(f"/api/v1/users/{user.pk}", {"email": "anna@example.org", "limits": {"vms": 2}})
    entry = JournalEntry.objects.get()
    assert entry.before["email"] == "" and entry.after["email"] == "anna@example.org"
    assert entry.before["limits"]["vms"] is None and entry.after["limits"]["vms"] == 2
    assert "name" not in entry.after


def test_an_entry_is_never_changed_nor_deleted(admin: User) -> None:
    entry = journal.record(admin, "test.done", "test")
    for forbidden in (
        entry.save,
        entry.delete,
        JournalEntry.objects.all().delete,
        lambda: JournalEntry.objects.update(action="x"),
    ):
        with pytest.raises(TypeError):
            forbidden()
    assert JournalEntry.objects.get().action == "test.done"


def test_users_read_what_is_about_them_and_administrators_with_the_right_all(
    api: APIClient, api_as_user: APIClient, admin: User, user: User
) -> None:
    journal.record(admin, "vm.stop", "vm", 7, "web1", owner_id=user.pk)
    journal.record(admin, "node.check", "node", 1, "node1")
    assert [each["action"] for each in api_as_user.get("/api/v1/journal").json()["results"]] == ["vm.stop"]
    assert [each["action"] for each in api.get("/api/v1/journal").json()["results"]] == ["node.check", "vm.stop"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("action=vm.stop", 1),
        ("user=admin", 2),
        ("object_id=7", 1),
        ("object_type=node", 1),
        ("object=node1", 1),
        ("since=2200-01-01T00:00:00Z", 0),
    ],
)
def test_the_journal_is_searched(api: APIClient, admin: User, query: str, found: int) -> None:
    journal.record(admin, "vm.stop", "vm", 7, "web1")
    journal.record(admin, "node.check", "node", 1, "node1")
    assert len(api.get(f"/api/v1/journal?{query}").json()["results"]) == found


def test_a_search_for_what_is_no_time_names_its_field(api: APIClient) -> None:
    answer = api.get("/api/v1/journal?since=yesterday")
    assert (answer.status_code, answer.json()["field"]) == (400, "since")


def test_an_export_is_searched_like_the_list(api: APIClient, admin: User) -> None:
    journal.record(admin, "vm.stop", "vm", 7, "web1")
    journal.record(admin, "node.check", "node", 1, "node1")
    answer: Any = api.get("/api/v1/journal/export?action=vm.stop")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert len(lines) == 2 and ",vm.stop," in lines[1]
    refused = api.get("/api/v1/journal/export?verb=stop")
    assert (refused.status_code, refused.json()["field"]) == (400, "verb")


def test_an_exported_name_is_no_formula(api: APIClient, admin: User) -> None:
    journal.record(admin, "vm.stop", "vm", 7, "=cmd()")
    answer: Any = api.get("/api/v1/journal/export")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0].startswith("id,at,user_name")
    assert ",'=cmd()," in lines[1]


def test_old_entries_are_forgotten_and_younger_ones_stay(admin: User) -> None:
    old = journal.record(admin, "old", "test")
    journal.record(admin, "young", "test")
    with connection.cursor() as cursor:
        then = (timezone.now() - timedelta(days=500)).replace(tzinfo=None)
        cursor.execute("UPDATE accounts_journalentry SET at = %s WHERE id = %s", [then, old.pk])
    assert journal.purge() == 1
    assert [each.action for each in JournalEntry.objects.all()] == ["young"]
