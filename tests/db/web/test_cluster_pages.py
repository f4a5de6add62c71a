"""The pages of the cluster: what is found in their lists, and what can be changed from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.notices.models import Problem, Severity
from panel.tasks.models import Status, Task
from panel.web import words
from tests.db.web.test_pages import signed_in


def text(client: Client, path: str, status: int = 200, **headers: str) -> str:
    answer = client.get(path, secure=True, headers=headers)
    assert answer.status_code == status, path
    body = answer.getvalue() if answer.streaming else answer.content
    return bytes(body).decode()


def _task(owner: User, name: str, **fields: Any) -> Task:
    known = {"operation": "vm.start", "object_type": "vm", "object_id": 7, "object_name": name, "status": Status.DONE}
    return Task.objects.create(**{"title": f"Start VM {name}", "owner": owner, **known, **fields})


@pytest.fixture
def tasks(admin: User, user: User) -> None:
    """Three: of two owners, about two kinds, in three states."""
    _task(admin, "shop", request_id="req-17")
    _task(user, "mail", status=Status.FAILED, operation="vm.delete", title="Delete VM mail")
    _task(admin, "rack9", status=Status.RUNNING, operation="node.check", object_type="node", title="Check node rack9")


FOUND = (
    ("", {"shop", "mail", "rack9"}),
    ("search=sho", {"shop"}),
    ("search=req-17", {"shop"}),
    ("search=delete", {"mail"}),
    ("search=node.check", {"rack9"}),
    ("status=failed", {"mail"}),
    ("status=open", {"rack9"}),
    ("status=nonsense", {"shop", "mail", "rack9"}),
    ("kind=node", {"rack9"}),
    ("owner=anna", {"mail"}),
    ("kind=vm&status=done", {"shop"}),
)


@pytest.mark.usefixtures("tasks")
def test_tasks_are_found_by_what_they_are_about_how_they_are_and_whose(admin: User, user: User) -> None:
    client = signed_in(admin)
    for asked, names in FOUND:
        for page in (text(client, f"/tasks?{asked}"), text(client, f"/tasks?{asked}&format=csv")):
            assert {name for name in ("shop", "mail", "rack9") if f" {name}" in page} == names, asked
    # Newest first, and a customer has their own.
    page = text(client, "/tasks")
    assert page.index("VM mail") < page.index("VM shop")
    theirs = text(signed_in(user), "/tasks?owner=admin")
    assert "VM shop" not in theirs and "VM mail" in theirs and 'value="admin"' not in theirs


@pytest.mark.usefixtures("tasks")
def test_a_task_says_who_asked_when_how_long_it_took_and_what_it_did(admin: User) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    task = Task.objects.get(object_name="shop")
    Task.objects.update(started_at=began, finished_at=began + timedelta(seconds=75), created_by=admin)
    task.steps.create(position=0, name="start", title="Start it", started_at=began, finished_at=began)
    for number in range(3):
        task.log.create(text=f"line {number}")
    page = text(signed_in(admin), f"/tasks/{task.pk}")
    for told in ("Start VM shop", "1:15 min", "req-17", "line 0", "line 2", "0.0 s", 'href="/vms/7"', "vm.start"):
        assert told in page, told
    assert page.index("line 0") < page.index("line 2")
    region = text(signed_in(admin), f"/tasks/{task.pk}", **{"HX-Request": "true", "HX-Target": "task"})
    assert region.startswith('<div id="task"') and f'data-live="task:{task.pk}"' in region


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, ""), (0.44, "0.4 s"), (12, "12 s"), (185, "3:05 min"), (3723, "1:02:03 h")]
)
def test_a_duration_is_told_as_people_say_it(seconds: float | None, told: str) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    assert words.took(began, began + timedelta(seconds=seconds) if seconds is not None else None) == told


def test_problems_are_found_by_how_bad_they_are_and_lead_to_their_object(admin: User, node: Node) -> None:
    for number, severity in enumerate(Severity.values):
        about = {"object_type": "node", "object_id": node.pk} if severity == "error" else {}
        keys = {"key": f"k{number}", "open_key": f"k{number}"}
        Problem.objects.create(**keys, severity=severity, text=f"It {severity}s.", **about)
    Problem.objects.create(key="old", severity="error", text="It was.")
    client = signed_in(admin)
    asked = {"": Severity.values, "severity=error": ["error"], "kind=node": ["error"], "search=alarm": ["alarm"]}
    for query, told in asked.items():
        page = text(client, f"/problems?{query}")
        assert [each for each in Severity.values if f"It {each}s." in page] == told, query
        assert "It was." not in page
    assert f'href="/nodes/{node.pk}"' in text(client, "/problems")


@pytest.mark.parametrize("path", ["/tasks", "/problems"])
def test_a_list_makes_the_same_queries_for_few_and_many(admin: User, path: str) -> None:
    client = signed_in(admin)

    def more(count: int) -> int:
        for number in range(count):
            key = f"{count}-{number}"
            _task(admin, key)
            Problem.objects.create(key=key, open_key=key, severity="error", text=key, object_type="vm", object_id=1)
        with CaptureQueriesContext(connection) as captured:
            text(client, path)
        return len(captured)

    few = more(2)
    assert more(20) == few <= 14
