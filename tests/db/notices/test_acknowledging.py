"""A problem that somebody knows of stays visible and counts no more; one that ended is found for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import JournalEntry, Level, User
from panel.cluster.models import Node
from panel.core import live
from panel.notices.models import LONGEST_NOTE, Problem, Severity
from panel.notices.services import acknowledge, close_problem, open_problem
from panel.tasks.periodic import purge
from panel.webhooks.events import named
from tests.db.web.test_cluster_pages import post, text
from tests.db.web.test_pages import signed_in

KEY = "node:1:disk"


def found(api: APIClient, **asked: Any) -> list[int]:
    answer = api.get("/api/v1/problems", asked)
    assert answer.status_code == 200, answer.json()
    return [each["id"] for each in answer.json()["results"]]


def badge(client: Client) -> str:
    page = text(client, "/profile")
    return page.partition("Open problems: </span>")[2].partition("<")[0].strip()


def test_who_acknowledged_when_and_why_is_told_and_it_counts_no_more(
    api: APIClient, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(live, "publish", lambda topic, data: told.append({"topic": topic, **data}))
    problem, other = open_problem(KEY, "The disk is full."), open_problem("other", "It is off.")
    client = signed_in(admin)
    assert badge(client) == "2"
    seen_at = problem.seen_at
    answer = api.post(f"/api/v1/problems/{problem.pk}/acknowledge", {"note": " New disk on Monday "}, format="json")
    assert answer.status_code == 200, answer.json()
    shown = answer.json()
    assert (shown["acknowledged_by"], shown["note"]) == ("admin", "New disk on Monday") and shown["acknowledged_at"]
    problem.refresh_from_db()
    assert problem.seen_at == seen_at
    assert named(told[-1]) is None and told[-1]["acknowledged"] is True
    assert (badge(client), found(api), found(api, state="unacknowledged")) == ("1", [other.pk, problem.pk], [other.pk])
    assert "New disk on Monday" in text(client, "/problems")
    entry = JournalEntry.objects.get(action="problem.acknowledge")
    assert (entry.object_id, entry.after, entry.user_name) == (problem.pk, {"note": "New disk on Monday"}, "admin")
    assert api.post(f"/api/v1/problems/{problem.pk}/unacknowledge").json()["acknowledged_at"] is None
    assert badge(client) == "2"


def test_one_that_returns_or_becomes_worse_is_not_acknowledged(admin: User) -> None:
    acknowledge(open_problem(KEY, "It is slow.", severity=Severity.WARNING), admin, "I know.")
    assert open_problem(KEY, "It is slower.", severity=Severity.WARNING).acknowledged_by == "admin"
    assert open_problem(KEY, "It is slow.", severity=Severity.INFO).acknowledged_by == "admin"
    worse = open_problem(KEY, "It is off.", severity=Severity.ERROR)
    assert (worse.acknowledged_at, worse.acknowledged_by, worse.note) == (None, "", "")
    acknowledge(worse, admin)
    close_problem(KEY)
    again = open_problem(KEY, "It is off.", severity=Severity.ERROR)
    assert again.pk != worse.pk and again.acknowledged_at is None
    assert Problem.objects.get(pk=worse.pk).acknowledged_by == "admin"


def test_what_ended_is_found_with_begin_and_end_for_a_while(api: APIClient, admin: User, settings: Any) -> None:
    problem = open_problem(KEY, "The disk is full.")
    close_problem(KEY)
    assert (found(api), found(api, state="ended"), found(api, state="all")) == ([], [problem.pk], [problem.pk])
    (row,) = api.get("/api/v1/problems", {"state": "ended"}).json()["results"]
    assert row["opened_at"] < row["closed_at"]
    refused = api.post(f"/api/v1/problems/{problem.pk}/acknowledge", {}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    client = signed_in(admin)
    assert "The disk is full." in text(client, "/problems/ended") and "The disk is full." not in text(
        client, "/problems"
    )
    long_ago = timezone.now() - timedelta(days=settings.CONFIG.problem_days + 1)
    Problem.objects.filter(pk=problem.pk).update(closed_at=long_ago)
    purge()
    assert found(api, state="all") == []


def test_they_are_found_by_object_kind_and_state(api: APIClient, admin: User, node: Node) -> None:
    about = {"object_type": "node", "object_id": node.pk}
    of_node = open_problem(KEY, "Of a node.", severity=Severity.ERROR, **about)  # type: ignore[arg-type]
    of_vm = open_problem("vm:7:drift", "Of a VM.", severity=Severity.WARNING, object_type="vm", object_id=7)
    acknowledge(of_vm, admin)
    by_rest: tuple[tuple[dict[str, Any], list[int]], ...] = (
        (about, [of_node.pk]),
        ({"severity": "warning"}, [of_vm.pk]),
        ({"key": KEY}, [of_node.pk]),
        ({"state": "acknowledged"}, [of_vm.pk]),
    )
    for asked, ids in by_rest:
        assert found(api, **asked) == ids, asked
    wrong = api.get("/api/v1/problems", {"state": "gone"}).json()
    assert (wrong["code"], wrong["field"]) == ("invalid_value", "state")
    client = signed_in(admin)
    for query, sentence in (
        (f"object={node.name}", "Of a node."),
        (f"object=node:{node.pk}", "Of a node."),
        ("object=vm:7", "Of a VM."),
        ("kind=vm", "Of a VM."),
        ("state=acknowledged", "Of a VM."),
        ("state=unacknowledged", "Of a node."),
    ):
        page = text(client, f"/problems?{query}")
        assert [each for each in ("Of a node.", "Of a VM.") if each in page] == [sentence], query


def test_only_who_may_settle_problems_acknowledges_them_on_the_page(admin: User, user: User) -> None:
    problem = open_problem(KEY, "The disk is full.")
    address = f"/problems/{problem.pk}/acknowledge"
    reader = signed_in(User.objects.create_user("auditor", "x", level=Level.READONLY))
    assert address not in text(reader, "/problems")
    for client in (reader, signed_in(user)):
        assert post(client, address, note="x").status_code == 404
    client = signed_in(admin)
    assert address in text(client, "/problems") and "The disk is full." in text(client, address)
    assert post(client, "/problems/4711/acknowledge").status_code == 404
    long = post(client, address, note="x" * (LONGEST_NOTE + 1))
    assert (long.status_code, b"is-invalid" in long.content) == (422, True)
    assert post(client, address, note="On Monday").status_code == 204
    assert Problem.objects.get().note == "On Monday"
    back = f"/problems/{problem.pk}/unacknowledge"
    assert back in text(client, "/problems") and post(client, back).status_code == 204
    assert Problem.objects.get().acknowledged_at is None
    close_problem(KEY)
    assert post(client, address, note="too late").status_code in (409, 422)
