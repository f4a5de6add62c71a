"""Browsers that are signed in: listed, ended, kept as hashes; and an administrator in a user's account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts import sessions, throttling
from panel.accounts.models import BrowserSession, JournalEntry, Level, User
from panel.accounts.periodic import purge
from panel.accounts.signin_keys import issue
from panel.accounts.tokens import create_token


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No wrong password of an earlier test counts."""
    throttling.client().flushall()


def browser(name: str = "anna", password: str = "correct horse", agent: str = "Firefox") -> Client:
    """A browser that is signed in by the form."""
    client = Client(headers={"user-agent": agent})
    answer = client.post("/login", {"username": name, "password": password}, secure=True)
    assert answer.status_code == 302
    return client


def _get(client: Client, path: str) -> Any:
    return client.get(f"/api/v1/{path}", secure=True)


def _delete(client: Client, path: str) -> int:
    return client.delete(f"/api/v1/{path}", secure=True).status_code


def _actions(user: User) -> list[tuple[str, str]]:
    entries = JournalEntry.objects.filter(object_type="user", object_id=user.pk).order_by("pk")
    return [(each.action, each.after.get("by", "")) for each in entries]


def test_whoever_signs_in_sees_their_browsers_and_ends_one(user: User) -> None:
    here, there = browser(agent="Firefox"), browser(agent="x" * 500)
    listed = _get(here, "me/sessions").json()["results"]
    assert {(each["agent"], each["by"], each["current"]) for each in listed} == {
        ("Firefox", "password", True),
        ("x" * 255, "password", False),
    }
    assert all(each["address"] == "127.0.0.1" for each in listed)
    other = next(each["id"] for each in listed if not each["current"])
    assert _delete(here, f"me/sessions/{other}") == 204
    assert _get(there, "me").status_code == 401 and _get(here, "me").status_code == 200
    assert _delete(here, f"me/sessions/{other}") == 404
    assert _actions(user) == [("session.begin", "password")] * 2 + [("session.end", "revoked")]


def test_the_key_of_a_session_is_not_in_the_database(user: User) -> None:
    key = browser().cookies[settings.SESSION_COOKIE_NAME].value
    row = BrowserSession.objects.get()
    assert key not in str(vars(row)) and row.user_id == user.pk


def test_signing_out_ends_the_session_and_is_recorded(user: User) -> None:
    client = browser()
    stolen = Client()
    stolen.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value
    client.post("/logout", secure=True)
    assert _get(stolen, "me").status_code == 401
    assert not BrowserSession.objects.filter(user=user).exists()
    assert _actions(user)[-1] == ("session.end", "sign-out")


def test_a_changed_password_ends_all_other_sessions_and_not_this_one(user: User) -> None:
    here, there = browser(), browser()
    wrong = here.post(
        "/api/v1/me/password",
        {"current": "guess", "password": "battery staple"},
        content_type="application/json",
        secure=True,
    )
    assert (wrong.status_code, wrong.json()["field"]) == (400, "current")
    body = {"current": "correct horse", "password": "battery staple"}
    changed = here.post("/api/v1/me/password", body, content_type="application/json", secure=True)
    assert changed.status_code == 204
    assert _get(here, "me").status_code == 200 and _get(there, "me").status_code == 401
    assert [each["current"] for each in _get(here, "me/sessions").json()["results"]] == [True]
    browser(password="battery staple")


def test_ones_password_cannot_be_guessed_from_a_stolen_session(user: User) -> None:
    client = browser()

    def change(current: str) -> int:
        body = {"current": current, "password": "battery staple"}
        return client.post("/api/v1/me/password", body, content_type="application/json", secure=True).status_code

    assert {change(f"guess {number}") for number in range(throttling.WRONG_ALLOWED)} == {400}
    assert change("correct horse") == 400


def test_all_others_are_ended_at_once(user: User) -> None:
    here, there = browser(), browser()
    assert _delete(here, "me/sessions") == 204
    assert _get(here, "me").status_code == 200 and _get(there, "me").status_code == 401


def test_an_administrator_ends_a_users_sessions_and_nobody_else_does(user: User, api: APIClient) -> None:
    client = browser()
    ben = APIClient()
    ben.force_authenticate(User.objects.create_user("ben", level=Level.ADMIN))
    for answer in (ben.get(f"/api/v1/users/{user.pk}/sessions"), ben.delete(f"/api/v1/users/{user.pk}/sessions")):
        assert answer.status_code == 403
    assert len(api.get(f"/api/v1/users/{user.pk}/sessions").json()["results"]) == 1
    assert api.delete(f"/api/v1/users/{user.pk}/sessions").status_code == 204
    assert _get(client, "me").status_code == 401


def test_a_disabled_user_comes_back_to_no_session(user: User, api: APIClient) -> None:
    client = browser()
    api.post(f"/api/v1/users/{user.pk}/disable")
    api.post(f"/api/v1/users/{user.pk}/enable")
    assert _get(client, "me").status_code == 401


def test_a_scoped_token_touches_no_session_and_no_password(user: User) -> None:
    browser()
    _token, text = create_token(user, "narrow", rights=["vms.view"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert client.delete("/api/v1/me/sessions").status_code == 403
    body = {"current": "correct horse", "password": "battery staple"}
    assert client.post("/api/v1/me/password", body).status_code == 403
    assert BrowserSession.objects.count() == 1


def test_when_a_session_was_last_used_is_written_once_a_minute(user: User) -> None:
    client = browser()
    first = BrowserSession.objects.get().last_seen_at
    _get(client, "me")
    assert BrowserSession.objects.get().last_seen_at == first
    BrowserSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=2))
    _get(client, "me")
    assert BrowserSession.objects.get().last_seen_at >= first


def test_a_session_whose_time_is_over_is_worth_nothing_and_goes(user: User) -> None:
    client = browser()
    browser()
    BrowserSession.objects.filter(pk=BrowserSession.objects.earliest("created_at").pk).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    assert _get(client, "me").status_code == 401
    assert sessions.list_sessions(user).count() == 1
    purge()
    assert BrowserSession.objects.count() == 1


def test_a_one_time_key_begins_a_session_of_its_own_kind(user: User, admin: User) -> None:
    text = issue(admin, user)
    client = Client()
    assert client.get(f"/sign-in/{text}", secure=True).status_code == 302
    assert [each["by"] for each in _get(client, "me/sessions").json()["results"]] == ["key"]
    assert ("session.begin", "key") in _actions(user)


def test_a_lock_out_stands_in_the_journal_once_and_names_no_stranger(user: User) -> None:
    for number in range(throttling.WRONG_ALLOWED + 3):
        for name in ("anna", "nobody"):
            Client().post("/login", {"username": name, "password": f"guess {number}"}, secure=True)
    entries = JournalEntry.objects.filter(action="session.locked")
    assert [(each.object_name, each.address) for each in entries] == [("anna", "127.0.0.1")]


def test_sessions_cost_the_same_queries_for_few_and_many(user: User) -> None:
    client = browser()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert _get(client, "me/sessions").status_code == 200
        return len(captured)

    few = queries()
    for _ in range(5):
        browser()
    assert queries() == few <= 3
